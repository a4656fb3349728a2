# The hooks of this bundle: a bridge in the runtime's network namespace, and a veth
# pair from it into the container's. Usage: net.sh up|started|down <STATE
set -eu
bridge=corten0
link=corten-veth
state=$(cat)
field() { printf %s "$state" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }
cd "$(field bundle)"
echo "$1: the state says $(field status)" >>hooks.log

case $1 in
up)         # createRuntime: the namespaces exist, the container's process waits
    pid=$(field pid)
    ip link add "$bridge" type bridge
    ip addr add 10.88.0.1/24 dev "$bridge"
    ip link set "$bridge" up
    ip link add "$link" type veth peer name eth0 netns "$pid"
    ip link set "$link" master "$bridge" up
    nsenter --target "$pid" --net ip addr add 10.88.0.2/24 dev eth0
    nsenter --target "$pid" --net ip link set eth0 up
    ;;
started)    # poststart: the payload runs
    ip -o link show master "$bridge" | sed 's/^[0-9]*: \([^@]*\).*/bridged: \1/' >>hooks.log
    ;;
down)       # poststop: the container and its end of the pair are gone
    ip link del "$link" 2>/dev/null || true
    ip link del "$bridge"
    ;;
esac
