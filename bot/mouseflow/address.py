"""Where the API is: a region's address, or one's own as long as it keeps the key secret."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from bot.errors import ConfigError

REGIONS = ("eu", "us")


def base_url(region_or_base_url: str) -> str:
    """The API's address for "eu", "us" (L18) or a URL of one's own, without a slash at the end.

    Raises ConfigError for plain http to another machine (L26: it would fail, and show the
    key on the way), for credentials in the URL, and for what is no URL.
    """
    if region_or_base_url in REGIONS:
        return f"https://api-{region_or_base_url}.mouseflow.com"
    try:
        parts = urlsplit(region_or_base_url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("the Mouseflow address is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("Mouseflow needs a region (eu or us) or an address with https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("the Mouseflow address may hold no credentials, query or fragment")
    if parts.scheme == "http" and not _loopback(host):
        raise ConfigError(f"plain http to {host} would show the API key: use https")
    return region_or_base_url.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
