"""What the agent needs to be a service of the operating system; without a service manager all of it does nothing."""
