"""Between the protocol's messages and this package's values; shared by server and client."""
