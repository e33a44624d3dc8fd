"""Reports for people, which change nothing: doctor, plan, status, totals of an archive, and a first config."""
