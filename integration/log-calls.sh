#!/bin/sh
# Stands in a runtime's place and notes the command lines that an engine calls it with.
#
#   CALLS=/tmp/calls REAL=/usr/sbin/runc integration/ctr.sh integration/log-calls.sh
#
# An engine that clears the environment (podman does): set the defaults below.
printf '%s: %s\n' "$(pwd)" "$*" >>"${CALLS:-/tmp/calls}"
exec "${REAL:-/usr/sbin/runc}" "$@"
