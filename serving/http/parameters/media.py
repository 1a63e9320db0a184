"""Media types, and the parameter that chooses one."""

from serving.http.parameters.rules import Parameter

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
MEDIA_TYPES = {"json": JSON, "arrow": ARROW, "parquet": PARQUET, "csv": CSV}
"""The media types of lists and histories, by the value of the parameter `format`."""
FORMAT = Parameter(
    name="format",
    description="The media type, for clients that cannot set `Accept`; it takes precedence.",
    advice=f"must be one of {', '.join(MEDIA_TYPES)}",
    choices=tuple(MEDIA_TYPES),
)
