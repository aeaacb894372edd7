"""Fetches clips from hosts that the server's owner has named; from nowhere else, and nothing long.

Redirects are not followed, proxies of the environment not used, and a name is resolved once: what
is checked is what is connected to, so that no name leads into a private network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import httpx

from pal_plugin.hosts.server.errors import Refusal

_PORTS = {"http": 80, "https": 443}


class Fetcher:
    """Fetches addresses of a few hosts.

    Args:
        hosts: `name`, for the standard ports, or `name:port`. A private address is only connected
            to if it is named itself, not where a name resolves to it.
        max_bytes: size of a file.
        seconds: time for all of it.
    """

    def __init__(self, hosts: Sequence[str], max_bytes: int, seconds: float) -> None:
        self.hosts, self.max_bytes, self.seconds = hosts, max_bytes, seconds

    async def fetch(self, address: str, where: str) -> bytes:
        """The bytes at an address.

        Args:
            where: the field of the request, for errors.

        Raises:
            Refusal: 400 for an address that is not allowed or whose host fails, 413 for a file that
                is too large, 504 for a slow one.
        """
        url = self._allowed(address, where)
        try:
            return await asyncio.wait_for(self._get(url, where), self.seconds)
        except (TimeoutError, asyncio.TimeoutError, httpx.TimeoutException) as error:
            raise Refusal(
                504, f"{where}: {url.host} took more than {self.seconds:g} s", "timeout", where
            ) from error
        except (httpx.HTTPError, OSError) as error:
            raise Refusal(
                400, f"{where}: {url.host} failed ({type(error).__name__})", "not_fetched", where
            ) from error

    def _allowed(self, address: str, where: str) -> httpx.URL:
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise _forbidden(where, "it is not an address") from error
        if url.scheme not in _PORTS or not url.host:
            raise _forbidden(where, "only data URIs and http(s) addresses are read")
        port = url.port or _PORTS[url.scheme]
        names = {f"{url.host}:{port}"} | ({url.host} if port in _PORTS.values() else set())
        if url.userinfo or names.isdisjoint(self.hosts):
            named = ", ".join(self.hosts) or "none"
            raise _forbidden(where, f"the hosts that this server fetches from: {named}")
        return url

    async def _get(self, url: httpx.URL, where: str) -> bytes:
        ip = await _resolved(url, where)
        host = url.netloc.decode("ascii")
        async with (
            httpx.AsyncClient(trust_env=False, timeout=self.seconds) as client,
            client.stream(
                "GET",
                url.copy_with(host=ip),
                headers={"Host": host, "Accept-Encoding": "identity"},
                extensions={"sni_hostname": url.host},
            ) as answer,
        ):
            if answer.status_code != 200:
                raise Refusal(
                    400,
                    f"{where}: {url.host} answered {answer.status_code}; expected 200 (redirects "
                    "are not followed)",
                    "not_fetched",
                    where,
                )
            data = bytearray()
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > self.max_bytes:
                    raise Refusal(
                        413,
                        f"{where} has more than {self.max_bytes >> 20} MiB",
                        "too_large",
                        where,
                    )
            return bytes(data)


async def _resolved(url: httpx.URL, where: str) -> str:
    """The IP address of a host."""
    try:
        ipaddress.ip_address(url.host)
        return url.host  # it was named itself
    except ValueError:
        pass
    found = await asyncio.get_running_loop().getaddrinfo(
        url.host, url.port or _PORTS[url.scheme], type=socket.SOCK_STREAM
    )
    addresses = [entry[4][0] for entry in found]
    if any(not ipaddress.ip_address(ip.partition("%")[0]).is_global for ip in addresses):
        raise _forbidden(where, f"{url.host} is a private address")
    return addresses[0]


def _forbidden(where: str, reason: str) -> Refusal:
    return Refusal(400, f"{where} is not fetched: {reason}", "not_fetched", where)
