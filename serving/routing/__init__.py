"""The local router: A/B tests, canaries and shadows on one machine, by Envoy."""
