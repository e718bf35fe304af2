"""The result of an audit as JSON, SARIF and HTML."""
