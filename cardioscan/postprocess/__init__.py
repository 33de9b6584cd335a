"""From the signals as read to the record: laws of the leads, confidence, refusals, corrections."""
