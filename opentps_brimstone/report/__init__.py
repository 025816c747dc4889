"""Pages and files about a plan."""
