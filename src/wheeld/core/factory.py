"""Opening a core: the native one, or the reference that specifies it."""

from __future__ import annotations

from wheeld.core.api import Core, CoreConfig, Restored


def open_core(
    config: CoreConfig, restored: Restored, now_ms: int, boot_ms: int, implementation: str = "native"
) -> Core:
    """A new core that begins at `now_ms`. `implementation`: "native" or "reference"."""
    if implementation == "native":
        from wheeld.core.native import NativeCore

        return NativeCore(config, restored, now_ms, boot_ms)
    if implementation == "reference":
        from wheeld.core.reference import ReferenceCore

        return ReferenceCore(config, restored, now_ms, boot_ms)
    raise ValueError(f"there is no core implementation {implementation!r}: say native or reference")
