"""Planning of OpenTPS plans."""
