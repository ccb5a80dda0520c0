"""Proxies and certificate authorities from the environment, the same for every connection.

`HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` name HTTP proxies, `NO_PROXY` what needs none: hosts
with their subdomains, addresses (also IPv6), networks, each with or without a port. This machine
never needs one. The lower-case names win, as with curl.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from mouseflow.errors import ConfigurationError

VARIABLES = {"https": "HTTPS_PROXY", "http": "HTTP_PROXY"}
_PORTS = {"https": 443, "http": 80}


class Proxies(Struct, frozen=True):
    """The proxy of each scheme, and what needs none."""

    by_scheme: Mapping[str, str]
    none_for: tuple[str, ...] = ()

    def of(self, url: str) -> str | None:
        """The URL of the proxy for that URL; None for a direct connection."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _PORTS.get(parts.scheme)
        if is_loopback(host) or any(_covers(entry, host, port) for entry in self.none_for):
            return None
        return self.by_scheme.get(parts.scheme)


def from_environment(environ: Mapping[str, str] | None = None) -> Proxies:
    """The proxies that the environment names.

    Raises ConfigurationError, with the variable's name, for one that can't be used.
    """
    environ = os.environ if environ is None else environ
    found = {}
    for scheme, name in VARIABLES.items():
        for variable in (name, "ALL_PROXY"):
            used, value = _value(environ, variable)
            if value:
                found[scheme] = _proxy(used, value)
                break
    none_for = _value(environ, "NO_PROXY")[1]
    return Proxies(found, tuple(none_for.replace(",", " ").split()))


def proxy_for(url: str) -> str | None:
    """The environment's proxy for that URL; raises ConfigurationError for one that can't be used.

    For this machine no variable counts, and none is read.
    """
    local = is_loopback(urlsplit(url).hostname or "")
    return None if local else from_environment().of(url)


def check_certificates(environ: Mapping[str, str] | None = None) -> None:
    """Raise ConfigurationError if `SSL_CERT_FILE` or `SSL_CERT_DIR` can't be used."""
    environ = os.environ if environ is None else environ
    if name := environ.get("SSL_CERT_FILE"):
        try:
            why = _unusable(name)
        except ValueError:
            raise ConfigurationError("SSL_CERT_FILE: not a path") from None
        if why:
            raise ConfigurationError(
                f"SSL_CERT_FILE: {name} can't be used ({why}); name a PEM file of certificates"
            )
    if (name := environ.get("SSL_CERT_DIR")) and not any(
        Path(each).is_dir() for each in name.split(os.pathsep)
    ):
        raise ConfigurationError(f"SSL_CERT_DIR: {name} is no folder")


def _unusable(name: str) -> str:
    """Why it is no file of certificates; empty if it is one."""
    if Path(name).exists() and not Path(name).is_file():
        return "it is no file"  # OpenSSL would wait for who writes into a pipe
    try:
        ssl.create_default_context(cafile=name)
    except ssl.SSLError:
        return "it holds no certificate"
    except OSError as error:
        return error.strerror or "it can't be read"
    return ""


def problems(environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with these variables, each with its name."""
    for check in (from_environment, check_certificates):
        try:
            check(environ)
        except ConfigurationError as error:
            yield str(error)


def is_host(name: str) -> bool:
    """Whether a host can have that name: labels of 1 to 63 characters, 253 in all."""
    try:
        return 0 < len(name.rstrip(".").encode("idna")) <= 253
    except UnicodeError:
        return False


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _value(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    for variable in (name.lower(), name):
        if value := environ.get(variable, "").strip():
            return variable, value
    return name, ""


def _proxy(variable: str, value: str) -> str:
    """The proxy's URL; errors never show the value, which may hold a password."""
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        wrong = "the port is not a number up to 65535" if "ort" in str(error) else "not a URL"
        raise ConfigurationError(f"{variable}: {wrong}; write http://host:port") from None
    if parts.scheme.startswith("socks"):
        raise ConfigurationError(
            f"{variable}: SOCKS proxies are not supported; name an HTTP proxy, or unset it"
        )
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{variable}: a proxy's address begins with http://, not {parts.scheme[:20]}://"
        )
    if (
        not is_host(host or "")
        or port == 0
        or not url.isprintable()
        or any(each.isspace() for each in url)
    ):
        raise ConfigurationError(f"{variable}: not an address; write http://host:port")
    return url


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY covers the host and port."""
    if entry == "*":
        return True
    name, only = _split(entry.lower())
    if only is not None and only != port:
        return False
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except (ValueError, TypeError):
        name = name.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    """Host, address or network, and the port if there is one."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, _number(rest.removeprefix(":"))
    if entry.count(":") == 1:
        name, _, rest = entry.partition(":")
        return name, _number(rest)
    return entry, None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
