"""OpenTPS plans in, OpenTPS plans out."""
