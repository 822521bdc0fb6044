"""What agents talk to: their endpoints, the inbox, enrollment, the fleet and the mailbox."""
