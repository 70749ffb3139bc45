"""From which network address a visitor comes.

Headers that name an address are not read here: the server has replaced the connection's address by a forwarded one already,
where a proxy that the operator names has sent it.
"""

from __future__ import annotations

import ipaddress

import streamlit as st

from tl_core import settings

UNREADABLE = "unreadable"
"""Stands for every address that a proxy forwards and that is none."""


def address() -> str | None:
    """Where the browser of this session comes from, as `origin` gives it."""
    return origin(st.context.ip_address)


def origin(host: str | None) -> str | None:
    """The text by which visitors from one place are counted together: an IPv4 address, or the /64 network of an IPv6 address,
    because one line gets such a network whole.

    None where it is not known or says nothing: without a connection, on this machine itself, and in a Space where it is that of a
    proxy, which all visitors come from: any address if the operator names no proxy, and otherwise a private one.
    """
    on_space = settings.on_space()
    if not host or (on_space and not settings.current().proxies):
        return None
    try:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(host)
    except ValueError:
        return UNREADABLE
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback or (on_space and found.is_private):
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
