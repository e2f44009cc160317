"""Check a sigstore bundle of a lock, where the library `sigstore` is installed."""

# Not always installed.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from typing import Any, cast

from egressmon.values import dataclass
from egressmon.verifying.witnesses.signatures import BadSignatureError, SignatureError


@dataclass(frozen=True, slots=True)
class Identity:
    """Who must have signed: a certificate's subject, and who vouched for it."""

    subject: str
    issuer: str


def check_bundle(data: bytes, bundle: bytes, identity: Identity) -> None:
    """Check that `identity` signed `data`, by its sigstore `bundle`.

    Raises BadSignatureError if not, and SignatureError if it cannot be found out.
    """
    bundles, verify = _library()
    try:
        parsed = bundles.from_json(bundle)
    except Exception as error:
        raise BadSignatureError(f"it is no sigstore bundle: {error}") from error
    try:
        verifier = verify.Verifier.production(offline=True)
    except Exception as error:
        raise SignatureError(
            f"sigstore has no root of trust here: {error}",
            "let it fetch one, once, where there is a network: `sigstore verify`",
        ) from error
    policy = verify.policy.Identity(identity=identity.subject, issuer=identity.issuer)
    try:
        verifier.verify_artifact(data, parsed, policy)
    except Exception as error:
        raise BadSignatureError(f"sigstore: {error}") from error


def _library() -> tuple[Any, Any]:
    try:
        from sigstore import verify  # noqa: PLC0415
        from sigstore.models import Bundle  # noqa: PLC0415
    except ImportError as error:
        raise SignatureError(
            "a sigstore bundle cannot be checked: the library is not installed",
            "install it beside egressmon: pip install 'egressmon[sigstore]'",
        ) from error
    return cast("Any", Bundle), cast("Any", verify)
