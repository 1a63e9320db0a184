"""Settings of serving."""

from pydantic import Field

from schemas.settings import ProgramSettings


class ServingSettings(ProgramSettings):
    http_host: str = Field(
        "127.0.0.1", min_length=1, validation_alias="HTTP_HOST", description="address to listen on"
    )
    http_port: int = Field(
        8000, ge=1, le=65_535, validation_alias="HTTP_PORT", description="port to listen on"
    )
    http_workers: int = Field(1, ge=1, validation_alias="HTTP_WORKERS", description="worker processes")
    http_threads: int = Field(
        8, ge=1, validation_alias="HTTP_THREADS", description="requests that one worker answers at once"
    )
    cors_origins: str = Field(
        "", validation_alias="CORS_ORIGINS", description="origins whose pages may call, separated by commas"
    )

    @property
    def allowed_origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
