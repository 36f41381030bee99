import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from wheeld.wire.pb.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SettleOperation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTLE_OPERATION_UNSPECIFIED: _ClassVar[SettleOperation]
    SETTLE_OPERATION_ACK: _ClassVar[SettleOperation]
    SETTLE_OPERATION_NACK: _ClassVar[SettleOperation]
    SETTLE_OPERATION_RELEASE: _ClassVar[SettleOperation]
    SETTLE_OPERATION_RENEW: _ClassVar[SettleOperation]
SETTLE_OPERATION_UNSPECIFIED: SettleOperation
SETTLE_OPERATION_ACK: SettleOperation
SETTLE_OPERATION_NACK: SettleOperation
SETTLE_OPERATION_RELEASE: SettleOperation
SETTLE_OPERATION_RENEW: SettleOperation

class StreamLeasesRequest(_message.Message):
    __slots__ = ("open", "credit", "settle", "renew", "pong")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    SETTLE_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    open: Open
    credit: Credit
    settle: Settle
    renew: Renew
    pong: Pong
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., settle: _Optional[_Union[Settle, _Mapping]] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("worker_id", "session_id", "namespace", "queues", "max_outstanding_jobs", "max_outstanding_bytes", "lease_duration", "held_lease_tokens")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    HELD_LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    namespace: str
    queues: _containers.RepeatedScalarFieldContainer[str]
    max_outstanding_jobs: int
    max_outstanding_bytes: int
    lease_duration: _duration_pb2.Duration
    held_lease_tokens: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., namespace: _Optional[str] = ..., queues: _Optional[_Iterable[str]] = ..., max_outstanding_jobs: _Optional[int] = ..., max_outstanding_bytes: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., held_lease_tokens: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("max_outstanding_jobs", "max_outstanding_bytes")
    MAX_OUTSTANDING_JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_outstanding_jobs: int
    max_outstanding_bytes: int
    def __init__(self, max_outstanding_jobs: _Optional[int] = ..., max_outstanding_bytes: _Optional[int] = ...) -> None: ...

class Settle(_message.Message):
    __slots__ = ("acks", "nacks", "releases")
    ACKS_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[Ack]
    nacks: _containers.RepeatedCompositeFieldContainer[Nack]
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    def __init__(self, acks: _Optional[_Iterable[_Union[Ack, _Mapping]]] = ..., nacks: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ..., releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("lease_token", "result", "receive_time_us")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    result: bytes
    receive_time_us: int
    def __init__(self, lease_token: _Optional[bytes] = ..., result: _Optional[bytes] = ..., receive_time_us: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("lease_token", "error_message", "retry_delay", "no_retry", "receive_time_us")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    NO_RETRY_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    error_message: str
    retry_delay: _duration_pb2.Duration
    no_retry: bool
    receive_time_us: int
    def __init__(self, lease_token: _Optional[bytes] = ..., error_message: _Optional[str] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., no_retry: bool = ..., receive_time_us: _Optional[int] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("lease_token",)
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    def __init__(self, lease_token: _Optional[bytes] = ...) -> None: ...

class Renew(_message.Message):
    __slots__ = ("lease_tokens", "extend_duration")
    LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXTEND_DURATION_FIELD_NUMBER: _ClassVar[int]
    lease_tokens: _containers.RepeatedScalarFieldContainer[bytes]
    extend_duration: _duration_pb2.Duration
    def __init__(self, lease_tokens: _Optional[_Iterable[bytes]] = ..., extend_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StreamLeasesResponse(_message.Message):
    __slots__ = ("opened", "leases", "settled", "revoked", "drain", "ping")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    leases: LeaseFrame
    settled: Settled
    revoked: Revoked
    drain: Drain
    ping: Ping
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., leases: _Optional[_Union[LeaseFrame, _Mapping]] = ..., settled: _Optional[_Union[Settled, _Mapping]] = ..., revoked: _Optional[_Union[Revoked, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("session_id", "server_time", "resumed_leases", "lease_duration", "max_outstanding_jobs", "max_outstanding_bytes", "ping_interval")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    RESUMED_LEASES_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_BYTES_FIELD_NUMBER: _ClassVar[int]
    PING_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    server_time: _timestamp_pb2.Timestamp
    resumed_leases: int
    lease_duration: _duration_pb2.Duration
    max_outstanding_jobs: int
    max_outstanding_bytes: int
    ping_interval: _duration_pb2.Duration
    def __init__(self, session_id: _Optional[str] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., resumed_leases: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_outstanding_jobs: _Optional[int] = ..., max_outstanding_bytes: _Optional[int] = ..., ping_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseFrame(_message.Message):
    __slots__ = ("fire_time_us", "leases")
    FIRE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    fire_time_us: int
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, fire_time_us: _Optional[int] = ..., leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("lease_token", "job_id", "type", "payload", "queue", "namespace", "attempt", "max_attempts", "schedule_time_ms", "lease_expire_time_ms", "lease_duration_ms", "fencing_token", "priority", "labels", "trace_context", "redelivery")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    REDELIVERY_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    job_id: str
    type: str
    payload: bytes
    queue: str
    namespace: str
    attempt: int
    max_attempts: int
    schedule_time_ms: int
    lease_expire_time_ms: int
    lease_duration_ms: int
    fencing_token: int
    priority: int
    labels: _containers.ScalarMap[str, str]
    trace_context: str
    redelivery: bool
    def __init__(self, lease_token: _Optional[bytes] = ..., job_id: _Optional[str] = ..., type: _Optional[str] = ..., payload: _Optional[bytes] = ..., queue: _Optional[str] = ..., namespace: _Optional[str] = ..., attempt: _Optional[int] = ..., max_attempts: _Optional[int] = ..., schedule_time_ms: _Optional[int] = ..., lease_expire_time_ms: _Optional[int] = ..., lease_duration_ms: _Optional[int] = ..., fencing_token: _Optional[int] = ..., priority: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., trace_context: _Optional[str] = ..., redelivery: bool = ...) -> None: ...

class SettledItem(_message.Message):
    __slots__ = ("lease_token", "operation", "code", "already_settled", "state", "lease_expire_time_ms", "field")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_SETTLED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    operation: SettleOperation
    code: _job_pb2.ErrorCode
    already_settled: bool
    state: _job_pb2.JobState
    lease_expire_time_ms: int
    field: str
    def __init__(self, lease_token: _Optional[bytes] = ..., operation: _Optional[_Union[SettleOperation, str]] = ..., code: _Optional[_Union[_job_pb2.ErrorCode, str]] = ..., already_settled: bool = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., lease_expire_time_ms: _Optional[int] = ..., field: _Optional[str] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SettledItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SettledItem, _Mapping]]] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[RevokedLease]
    def __init__(self, leases: _Optional[_Iterable[_Union[RevokedLease, _Mapping]]] = ...) -> None: ...

class RevokedLease(_message.Message):
    __slots__ = ("lease_token", "code")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    lease_token: bytes
    code: _job_pb2.ErrorCode
    def __init__(self, lease_token: _Optional[bytes] = ..., code: _Optional[_Union[_job_pb2.ErrorCode, str]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("deadline",)
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    deadline: _timestamp_pb2.Timestamp
    def __init__(self, deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("server_time",)
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    server_time: _timestamp_pb2.Timestamp
    def __init__(self, server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LeaseJobsRequest(_message.Message):
    __slots__ = ("worker_id", "session_id", "namespace", "queues", "max_jobs", "lease_duration", "wait_duration")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    MAX_JOBS_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    WAIT_DURATION_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    namespace: str
    queues: _containers.RepeatedScalarFieldContainer[str]
    max_jobs: int
    lease_duration: _duration_pb2.Duration
    wait_duration: _duration_pb2.Duration
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., namespace: _Optional[str] = ..., queues: _Optional[_Iterable[str]] = ..., max_jobs: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseJobsResponse(_message.Message):
    __slots__ = ("fire_time_us", "leases")
    FIRE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    fire_time_us: int
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, fire_time_us: _Optional[int] = ..., leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class AckJobsRequest(_message.Message):
    __slots__ = ("worker_id", "session_id", "acks")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    acks: _containers.RepeatedCompositeFieldContainer[Ack]
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., acks: _Optional[_Iterable[_Union[Ack, _Mapping]]] = ...) -> None: ...

class AckJobsResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SettledItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SettledItem, _Mapping]]] = ...) -> None: ...

class NackJobsRequest(_message.Message):
    __slots__ = ("worker_id", "session_id", "nacks")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    nacks: _containers.RepeatedCompositeFieldContainer[Nack]
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., nacks: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ...) -> None: ...

class NackJobsResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SettledItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SettledItem, _Mapping]]] = ...) -> None: ...

class ReleaseLeasesRequest(_message.Message):
    __slots__ = ("worker_id", "session_id", "releases")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ...) -> None: ...

class ReleaseLeasesResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SettledItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SettledItem, _Mapping]]] = ...) -> None: ...

class RenewLeasesRequest(_message.Message):
    __slots__ = ("worker_id", "session_id", "lease_tokens", "extend_duration")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXTEND_DURATION_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    lease_tokens: _containers.RepeatedScalarFieldContainer[bytes]
    extend_duration: _duration_pb2.Duration
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., lease_tokens: _Optional[_Iterable[bytes]] = ..., extend_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewLeasesResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SettledItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SettledItem, _Mapping]]] = ...) -> None: ...
