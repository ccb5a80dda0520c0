"""Read what each page shows: functions from a connection to one frozen value of `views`."""
