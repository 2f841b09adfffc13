"""Who is calling. One port, so that every later way to prove an identity plugs in at one place (rules 10)."""

from typing import Protocol

from gateway.api.exchange import Exchange
from gateway.config_safety import LOOPBACK
from gateway.errors import ErrorCode, NotAuthenticated
from gateway.identity import Caller, Permission, TenantId

DEVELOPMENT_CALLER = "development"


class Authenticator(Protocol):
    """Turns a request's credentials into a Caller."""

    def authenticate(self, exchange: Exchange) -> Caller:
        """Return the caller.

        Raises:
            NotAuthenticated: no or bad credentials; never says why.
        """
        ...


class LoopbackDevelopment:
    """Without configured identities: a named development caller, only from this machine. Refuses to exist in production (config)."""

    def __init__(self, tenant: str) -> None:
        self._caller = Caller(client_id=DEVELOPMENT_CALLER, tenant=TenantId(tenant), permissions=frozenset(Permission))

    def authenticate(self, exchange: Exchange) -> Caller:
        """Return the development caller for a request from loopback.

        Raises:
            NotAuthenticated: the request came from elsewhere.
        """
        if exchange.client_host not in LOOPBACK:
            raise NotAuthenticated(ErrorCode.NOT_AUTHENTICATED, "Not authenticated.")
        return self._caller
