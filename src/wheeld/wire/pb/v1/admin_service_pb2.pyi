import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "node", "store_uuid", "start_time", "shards", "journal_format_version", "store_format_version", "server_time", "draining", "resident_bytes", "resident_bytes_max", "resident_jobs")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STORE_UUID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_JOBS_FIELD_NUMBER: _ClassVar[int]
    version: str
    node: str
    store_uuid: str
    start_time: _timestamp_pb2.Timestamp
    shards: int
    journal_format_version: int
    store_format_version: int
    server_time: _timestamp_pb2.Timestamp
    draining: bool
    resident_bytes: int
    resident_bytes_max: int
    resident_jobs: int
    def __init__(self, version: _Optional[str] = ..., node: _Optional[str] = ..., store_uuid: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., shards: _Optional[int] = ..., journal_format_version: _Optional[int] = ..., store_format_version: _Optional[int] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., draining: bool = ..., resident_bytes: _Optional[int] = ..., resident_bytes_max: _Optional[int] = ..., resident_jobs: _Optional[int] = ...) -> None: ...

class GetFireSkewRequest(_message.Message):
    __slots__ = ("queue", "namespace", "reset")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    queue: str
    namespace: str
    reset: bool
    def __init__(self, queue: _Optional[str] = ..., namespace: _Optional[str] = ..., reset: bool = ...) -> None: ...

class GetFireSkewResponse(_message.Message):
    __slots__ = ("queues", "window")
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[QueueSkew]
    window: _duration_pb2.Duration
    def __init__(self, queues: _Optional[_Iterable[_Union[QueueSkew, _Mapping]]] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class QueueSkew(_message.Message):
    __slots__ = ("namespace", "queue", "release", "receipt")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    release: SkewHistogram
    receipt: SkewHistogram
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., release: _Optional[_Union[SkewHistogram, _Mapping]] = ..., receipt: _Optional[_Union[SkewHistogram, _Mapping]] = ...) -> None: ...

class SkewHistogram(_message.Message):
    __slots__ = ("count", "buckets", "p50_us", "p90_us", "p99_us", "p999_us", "max_us")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    P50_US_FIELD_NUMBER: _ClassVar[int]
    P90_US_FIELD_NUMBER: _ClassVar[int]
    P99_US_FIELD_NUMBER: _ClassVar[int]
    P999_US_FIELD_NUMBER: _ClassVar[int]
    MAX_US_FIELD_NUMBER: _ClassVar[int]
    count: int
    buckets: _containers.RepeatedCompositeFieldContainer[SkewBucket]
    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int
    max_us: int
    def __init__(self, count: _Optional[int] = ..., buckets: _Optional[_Iterable[_Union[SkewBucket, _Mapping]]] = ..., p50_us: _Optional[int] = ..., p90_us: _Optional[int] = ..., p99_us: _Optional[int] = ..., p999_us: _Optional[int] = ..., max_us: _Optional[int] = ...) -> None: ...

class SkewBucket(_message.Message):
    __slots__ = ("upper_us", "count")
    UPPER_US_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    upper_us: int
    count: int
    def __init__(self, upper_us: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...
