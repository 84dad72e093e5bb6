#!/bin/sh
# Any CI system with a shell: wrap the job's command.  scripts/deploy/recipe.sh pytest -q
# With LOCK=1 (and root through sudo): the job's user has no way out but the sidecar.
set -u
fail_on=${TOLLKEEPER_FAIL_ON:-over,refused}
if [ "${LOCK:-0}" = 1 ]; then
    id tollkeeper >/dev/null 2>&1 || sudo useradd --system --no-create-home --shell /usr/sbin/nologin tollkeeper
    variables=$(sudo -E "$(command -v tollkeeper)" ci start --lock --job-user "$(id -un)" --shell bash) || exit 1
else
    variables=$(tollkeeper ci start --shell bash) || exit 1
fi
eval "$variables"
if [ "${LOCK:-0}" = 1 ] && ! tollkeeper ci verify; then
    echo "tollkeeper: the lock does not hold here; see the table above" >&2
    [ "${LOCK_OPTIONAL:-0}" = 1 ] || exit 1
fi
"$@"
code=$?
if [ "${LOCK:-0}" = 1 ]; then
    sudo -E "$(command -v tollkeeper)" ci settle && tollkeeper ci finish --fail-on "$fail_on" --output tollkeeper-out
else
    tollkeeper ci finish --fail-on "$fail_on"
fi
finished=$?
[ "$code" -ne 0 ] && exit "$code"
exit "$finished"
