"""Where a callback may go: every public form of an address, and no form of one that only this network can reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.addresses import refusal, visitor

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4014:80e::200e"]
PRIVATE = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",  # shared by a provider's customers
    "169.254.169.254": "link-local",  # where clouds keep their credentials
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fec0::1": "private",
    "198.18.0.1": "private",
    "192.0.2.1": "private",
    "240.0.0.1": "private",
    "255.255.255.255": "private",
    "0.1.2.3": "private",
    "64:ff9b:1::808:808": "private",
    "64:ff9b:1:808:8:800::": "private",
    "2001:db8::1": "private",
}
NEVER = {
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}
V4 = [address for address in {**PRIVATE, **NEVER} if ":" not in address]


def wrapped(inner: str) -> dict[str, str]:
    """The IPv4 address in every form that IPv6 has for it."""
    number = int(IPv4Address(inner))
    forms = {
        "mapped": 0xFFFF << 32 | number,
        "compatible": number,
        "translated": 0xFFFF << 48 | number,
        "NAT64": 0x64FF9B << 96 | number,
        "NAT64 local": 0x64FF9B0001 << 80 | number,
        "6to4": 0x2002 << 112 | number << 80 | 1,
        "Teredo's client": 0x20010000 << 96 | 0x08080808 << 64 | number ^ 0xFFFFFFFF,
        "Teredo's server": 0x20010000 << 96 | number << 64 | 0x08080808 ^ 0xFFFFFFFF,
        "ISATAP": 0x26064700 << 96 | 0x00005EFE << 32 | number,
        "ISATAP, global": 0x26064700 << 96 | 0x02005EFE << 32 | number,
    }
    return {name: str(IPv6Address(value)) for name, value in forms.items()}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert refusal(address, private=False) == ""
    assert refusal(address, private=True) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_what_only_this_network_can_reach_is_allowed_on_demand_alone(address: str) -> None:
    assert refusal(address, private=False) == PRIVATE[address]
    assert refusal(address, private=True) == ""


@pytest.mark.parametrize("address", NEVER)
def test_what_is_no_single_machine_is_never_allowed(address: str) -> None:
    assert refusal(address, private=False) == refusal(address, private=True) == NEVER[address]


@pytest.mark.parametrize("inner", V4)
def test_no_wrapping_hides_an_address(inner: str) -> None:
    assert [name for name, form in wrapped(inner).items() if not refusal(form, private=False)] == []


@pytest.mark.parametrize("inner", ["0.0.0.0", "224.0.0.1"])
def test_no_wrapping_hides_what_is_never_allowed(inner: str) -> None:
    hiding = {"NAT64 local"}  # nobody else can tell what is in it
    assert {name for name, form in wrapped(inner).items() if not refusal(form, private=True)} == hiding


@pytest.mark.parametrize("form", ["mapped", "compatible", "translated", "NAT64", "6to4", "ISATAP"])
def test_a_public_address_is_allowed_in_its_other_forms(form: str) -> None:
    assert refusal(wrapped("8.8.8.8")[form], private=False) == ""


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "127.0.0.01", "8.8.8.8:80"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert refusal(text, private=True) == "not an address"


@given(st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="127.0.0.0/8"))
def test_whatever_the_address_no_wrapping_hides_it(inner: IPv4Address | IPv6Address) -> None:
    assert all(refusal(form, private=False) for form in wrapped(str(inner)).values())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("relay.sock", ""),
    ],
)
def test_a_visitor_is_an_address_or_a_whole_network_of_ipv6(host: str, name: str) -> None:
    assert visitor(host) == name
