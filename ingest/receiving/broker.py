"""Addresses, login and TLS context of the broker, from the settings."""

import ssl

from ingest.mqtt.packets import Connect, MqttVersion
from ingest.settings import IngestSettings
from schemas.programs.broker_url import BrokerAddress, parse_broker_url
from schemas.programs.settings import SettingsError

KEEPALIVE_S = 30
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
VERSIONS = {"5": MqttVersion.V5, "3.1.1": MqttVersion.V3_1_1}


def addresses_of(settings: IngestSettings) -> tuple[BrokerAddress, ...]:
    """The broker's hosts, in the order in which they are tried."""
    return parse_broker_url(settings.mqtt_url).addresses


def login_for(settings: IngestSettings) -> Connect:
    url = parse_broker_url(settings.mqtt_url)
    return Connect(
        VERSIONS[settings.mqtt_protocol],
        settings.mqtt_client_id,
        KEEPALIVE_S,
        username=url.username,
        password=url.password,
        session_expiry_s=settings.mqtt_session_expiry_s,
        receive_maximum=settings.mqtt_receive_maximum,
    )


def tls_for(settings: IngestSettings, url: str | None = None) -> ssl.SSLContext | None:
    """Return the TLS context with certificate authorities and our certificate; None for a URL without TLS.

    Raises:
        SettingsError: a file holds no certificate, or one that does not match the key.
    """
    if not parse_broker_url(url or settings.mqtt_url).uses_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.mqtt_ca_file)
    except ssl.SSLError as error:
        raise SettingsError(f"MQTT_CA_FILE: {error}; expected certificates in PEM form") from None
    if settings.mqtt_cert_file is not None:
        try:
            context.load_cert_chain(settings.mqtt_cert_file, settings.mqtt_key_file, password="")
        except ssl.SSLError as error:
            raise SettingsError(
                f"MQTT_CERT_FILE, MQTT_KEY_FILE: {error}; expected a certificate and its key as PEM"
            ) from None
    return context
