"""Where the certificates of the tests lie; see README.md."""

from pathlib import Path

FOLDER = Path(__file__).parent

CERTIFICATE = FOLDER / "localhost.pem"
KEY = FOLDER / "localhost.key"
ENCRYPTED_KEY = FOLDER / "encrypted.key"
OTHER_CERTIFICATE = FOLDER / "elsewhere.pem"
OTHER_KEY = FOLDER / "elsewhere.key"
