"""A passkey in software, and what a browser sends for it. https://www.w3.org/TR/webauthn-3/ names the parts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import sha256, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

FLAG = AuthenticatorData.FLAG
VERIFIED = FLAG.USER_PRESENT | FLAG.USER_VERIFIED


@dataclass
class SoftwarePasskey:
    host: str = "testserver"
    origin: str = "https://testserver"
    flags: FLAG = VERIFIED
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def registration(self, challenge: str) -> dict[str, Any]:
        """What a browser sends to add the passkey."""
        credential = AttestedCredentialData.create(
            b"\0" * 16, self.id, ES256.from_cryptography_key(self.key.public_key())
        )
        data = AuthenticatorData.create(sha256(self.host.encode()), self.flags | FLAG.ATTESTED, 0, bytes(credential))
        client = CollectedClientData.create("webauthn.create", challenge, self.origin)
        return self._sent(client, attestationObject=websafe_encode(AttestationObject.create("none", data, {}))) | {
            "clientExtensionResults": {"credProps": {"rk": True}}
        }

    def assertion(self, challenge: str, user_handle: str = "") -> dict[str, Any]:
        """What a browser sends to use the passkey."""
        data = AuthenticatorData.create(sha256(self.host.encode()), self.flags, 1)
        client = CollectedClientData.create("webauthn.get", challenge, self.origin)
        signature = self.key.sign(bytes(data) + client.hash, ec.ECDSA(SHA256()))
        return self._sent(
            client,
            authenticatorData=websafe_encode(data),
            signature=websafe_encode(signature),
            userHandle=websafe_encode(user_handle.encode()),
        )

    def _sent(self, client: CollectedClientData, **response: str) -> dict[str, Any]:
        return {
            "id": websafe_encode(self.id),
            "rawId": websafe_encode(self.id),
            "type": "public-key",
            "response": {"clientDataJSON": websafe_encode(client), **response},
            "clientExtensionResults": {},
        }
