#!/bin/sh
exec curl -fsS -m 10 -o /dev/null http://127.0.0.1:8080/about/health
