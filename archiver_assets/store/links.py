"""Addresses of objects that a person can click on.

What belongs here: URLs of AWS's console, and of a store's own endpoint. What does not: reading an object. A URL grants nobody access: the
store still checks the reader's own rights.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from archiver_assets.config import S3Config

_CONSOLES = {"cn-": "console.amazonaws.cn", "us-gov-": "console.amazonaws-us-gov.com"}
"""The consoles of AWS's other partitions, by what their regions begin with."""


@dataclass(frozen=True)
class Links:
    """Where the objects of a store are shown."""

    s3: S3Config

    def url(self, key: str) -> str:
        """Return the URL of an object: in AWS's console, or below the configured endpoint."""
        s3 = self.s3
        if s3.endpoint is None:
            region = s3.region or ""
            console = next((host for prefix, host in _CONSOLES.items() if region.startswith(prefix)), "console.aws.amazon.com")
            query = {"region": region, "prefix": key} if region else {"prefix": key}
            return f"https://{console}/s3/object/{s3.bucket}?{urlencode(query, quote_via=quote)}"
        path = quote(key, safe="/~")
        endpoint = urlsplit(s3.endpoint)
        base = endpoint.path.rstrip("/")
        if s3.path_style:
            return f"{endpoint.scheme}://{endpoint.netloc}{base}/{s3.bucket}/{path}"
        return f"{endpoint.scheme}://{s3.bucket}.{endpoint.netloc}{base}/{path}"
