"""ServiceAccount tokens: JSON web tokens that the server signs and checks."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from . import clock
from .errors import invalid, not_found, wrong
from .resources import Resource
from .users import User, service_account

if TYPE_CHECKING:
    from .state import State
    from .store import Obj

AUDIENCE = "https://kubernetes.default.svc"
_SHORTEST = 600
_LONGEST = 1 << 32


class Tokens:
    """Knows who a bearer token belongs to."""

    def __init__(self, signer: ec.EllipticCurvePrivateKey, admin: str) -> None:
        self._signer, self._admin = signer, admin
        self._known: dict[str, dict[str, Any]] = {}

    def user(self, state: State, token: str) -> User | None:
        """The user of a token; None for one that is not valid."""
        if hmac.compare_digest(token.encode(), self._admin.encode()):
            return User("admin", ("system:masters", "system:authenticated"))
        claims = self._known.get(token) or self._verify(token)
        if claims is None or claims["exp"] < time.time():
            self._known.pop(token, None)
            return None
        if AUDIENCE not in claims["aud"]:
            return None
        about = claims["kubernetes.io"]
        namespace, account = about["namespace"], about["serviceaccount"]
        found = state.store.get("/serviceaccounts", namespace, account["name"])
        if found is None or found["metadata"]["uid"] != account["uid"]:
            return None
        if (pod := about.get("pod")) is not None:
            bound = state.store.get("/pods", namespace, pod["name"])
            if bound is None or bound["metadata"]["uid"] != pod["uid"]:
                return None
        return service_account(namespace, account["name"], account["uid"])

    def request(self, state: State, resource: Resource, namespace: str, name: str, body: Obj) -> Obj:
        """Answers a `TokenRequest` for a ServiceAccount."""
        account = state.store.get("/serviceaccounts", namespace, name)
        if account is None:
            raise not_found("", "serviceaccounts", name)
        spec = dict(body.get("spec") or {})
        seconds = spec.get("expirationSeconds") or 3600
        if not _SHORTEST <= seconds <= _LONGEST:
            text = (
                "may not specify a duration less than 10 minutes"
                if seconds < _SHORTEST
                else "may not specify a duration larger than 2^32 seconds"
            )
            raise invalid(
                "authentication.k8s.io", "TokenRequest", name, [wrong("spec.expirationSeconds", text, seconds)]
            )
        audiences = spec.get("audiences") or [AUDIENCE]
        issued = int(time.time())
        about: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
        }
        bound = spec.get("boundObjectRef")
        if bound and bound.get("kind") == "Pod":
            pod = state.store.get("/pods", namespace, bound["name"])
            if pod is None or (bound.get("uid") and bound["uid"] != pod["metadata"]["uid"]):
                raise not_found("", "pods", bound["name"])
            about["pod"] = {"name": bound["name"], "uid": pod["metadata"]["uid"]}
        claims = {
            "iss": AUDIENCE, "aud": audiences, "iat": issued, "nbf": issued, "exp": issued + seconds,
            "jti": clock.new_uid(),
            "sub": f"system:serviceaccount:{namespace}:{name}", "kubernetes.io": about,
        }  # fmt: skip
        status = {"token": self._sign(claims), "expirationTimestamp": clock.after(seconds)}
        meta = {"name": name, "namespace": namespace, "creationTimestamp": clock.now()}
        sent = {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": meta,
            "spec": sent,
            "status": status,
        }

    def _sign(self, claims: dict[str, Any]) -> str:
        head = _encode(json.dumps({"alg": "ES256", "typ": "JWT"}).encode())
        signed = f"{head}.{_encode(json.dumps(claims, separators=(',', ':')).encode())}"
        r, s = decode_dss_signature(self._signer.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        token = f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        self._known[token] = claims
        return token

    def _verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that this server signed; None for any other."""
        try:
            signed, _, signature = token.rpartition(".")
            raw = _decode(signature)
            der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._signer.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
            claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        except (ValueError, InvalidSignature):
            return None
        self._known[token] = claims
        return claims


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
