"""How the archiver authenticates: where secrets belong, since none is in the file, and what `auth` requires.

What belongs here: keys that people put secrets under, hints for them, and the rules between `auth`, `password_env`, `sslmode`
and `host`. What does not: reading a secret (`models.py`, `source/transport.py`).
"""

from collections.abc import Iterable
from typing import Final

from archiver_assets.config.document import INVALID, Entries, Node
from archiver_assets.config.problems import Problems, joined_path
from archiver_assets.config.sections import Section, Values, child

_PASSWORD_HINT: Final = "no secret belongs in this file; password_env names the environment variable that holds the password"  # noqa: S105 - a hint, not a password
_URL_HINT: Final = "no secret belongs in this file; url_env names the environment variable that holds the URL of the target"
_CREDENTIALS_HINT: Final = (
    "credentials come from AWS's default credential chain: environment variables, a profile that AWS_PROFILE names, or the role of the pod "
    "or machine"
)
_AUTHORITY_HINT: Final = "the environment variable AWS_CA_BUNDLE names the CA bundle file"
_PASSWORDS: Final = (
    *("password", "passwd", "pass", "pwd", "pgpassword", "secret", "token", "password_file", "passfile", "pgpass"),
    *("dsn", "url", "uri", "conninfo", "connection", "connection_string", "connection_uri", "connection_url", "database_url"),
)
_CREDENTIALS: Final = (
    *("access_key", "access_key_id", "key_id", "secret_key", "secret_access_key", "session_token", "security_token"),
    *("profile", "profile_name", "credentials", "credentials_file", "shared_credentials_file", "credential_process"),
    *("role_arn", "assume_role", "web_identity_token_file"),
)
_AUTHORITIES: Final = ("ca_bundle", "ca_cert", "ca_file", "cacert", "sslrootcert", "verify", "verify_ssl")

Hints = dict[str, str]


def _spelled(names: Iterable[str], hint: str) -> Hints:
    """Return the hint for the names as they are, for environment variables, for headers, and for JSON."""
    prefixed = [prefix + name for name in names for prefix in ("", "aws_", "s3_")]
    return {form: hint for name in prefixed for form in (name, name.replace("_", "-"), name.replace("_", ""))}


CREDENTIALS: Final = _spelled(_CREDENTIALS, _CREDENTIALS_HINT)
IN_S3: Final = _spelled(_AUTHORITIES, _AUTHORITY_HINT) | _spelled(("user", "password", "secret", "token"), _CREDENTIALS_HINT) | CREDENTIALS
IN_DATABASE: Final = CREDENTIALS | _spelled(_PASSWORDS, _PASSWORD_HINT)
IN_TARGET: Final = CREDENTIALS | _spelled(_PASSWORDS, _URL_HINT)

_PLAINTEXT: Final = {"disable", "allow", "prefer"}


def note_identity(node: Node, section: Section, values: Values, problems: Problems, sslmode: object = None) -> None:
    """Note what does not go with the `auth` of a database; `sslmode` is used if the mapping has none.

    A token is a password for a quarter of an hour, and PostgreSQL receives it as it is: without TLS, anyone on the path could use it.
    """
    if not isinstance(node, Entries) or values.get("auth") is INVALID:
        return
    if values.get("auth", "password") == "password":
        if "password_env" not in node.entries:
            _note(node, "password_env", f"missing key; expected {section.expected('password_env')}; or set auth: aws_iam", problems)
        elif values["password_env"] is None:
            _note(node, "password_env", f"expected {section.expected('password_env')}, found nothing; or set auth: aws_iam", problems)
        return
    if values.get("password_env") is not None:
        _note(node, "password_env", "expected none, because auth: aws_iam uses tokens instead; remove one of the two", problems)
    mode = values.get("sslmode") or sslmode
    if isinstance(mode, str) and mode in _PLAINTEXT:
        text = f"expected verify-full, or at least require, found {mode}; with auth: aws_iam the token would be sent without encryption"
        _note(node, "sslmode", text, problems)
    note_endpoint(node, values, problems)


def note_endpoint(node: Entries, values: Values, problems: Problems) -> None:
    """Note a host for which no token can be made."""
    if str(values.get("host")).startswith("/"):
        _note(node, "host", "expected the name of the server's endpoint, because each aws_iam token is for one name", problems)


def _note(node: Entries, key: str, text: str, problems: Problems) -> None:
    problems.add((child(node, key) or node).line, joined_path(node.path, key), text)
