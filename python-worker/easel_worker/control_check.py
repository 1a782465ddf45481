"""Checks the ControlNets, T2I-Adapters and IP-Adapters of a request."""

from collections.abc import Sequence

from msgspec import UNSET

from easel_worker.engine import (
    Capabilities,
    Control,
    ControlUse,
    InvalidRequest,
    IpAdapter,
    IpAdapterUse,
    Parameters,
)

MAX_IP_ADAPTERS = 1
"""How many IP-Adapters an image may have."""


def check_controls(wanted: Parameters, capabilities: Capabilities) -> None:
    """Check that what the request names is here, and when its controls begin and end.

    Raises:
        InvalidRequest: an entry of `controls` or `ip_adapters` does not fit; the text names it.
    """
    controls = () if wanted.controls is UNSET else wanted.controls
    adapters = () if wanted.ip_adapters is UNSET else wanted.ip_adapters
    for what, count, most in (
        ("controls", len(controls), capabilities.limits.max_controls),
        ("ip_adapters", len(adapters), MAX_IP_ADAPTERS),
    ):
        if count > most:
            raise InvalidRequest(f"the number of {what} is {count}, but at most {most} is allowed")
    _check_here("control", controls, capabilities.controls)
    _check_here("IP-Adapter", adapters, capabilities.ip_adapters)
    for number, use in enumerate(controls):
        if use.start >= use.end:
            raise InvalidRequest(
                f"controls[{number}]: start is {use.start}, which is not before end, {use.end}"
            )


def _check_here(
    what: str, used: Sequence[ControlUse | IpAdapterUse], listed: Sequence[Control | IpAdapter]
) -> None:
    known = {each.name: each.digest for each in listed}
    for use in used:
        if known.get(use.name) != use.digest:
            now = f"its digest is {known[use.name]}" if use.name in known else "it is gone"
            raise InvalidRequest(
                f"the {what} {use.name} with digest {use.digest} is not here: {now}"
            )
