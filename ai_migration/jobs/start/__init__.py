"""From a request to a job, or to the plan of one."""
