"""The agent: what runs on a till, warehouse or office PC."""
