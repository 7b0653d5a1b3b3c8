#!/bin/sh
# As upstream: the port is fixed.
exec curl -fsS -o /dev/null --max-time 5 http://127.0.0.1:5280/health
