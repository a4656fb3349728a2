# Runs inside the container. Each limit is shown twice: as the kernel's files have
# it, and by what happens to a process that goes beyond.
cg=/sys/fs/cgroup
if [ -e $cg/cgroup.controllers ]; then
    echo "memory: $(cat $cg/memory.max) bytes"
    echo "pids: $(cat $cg/pids.max)"
    echo "cpu: $(cat $cg/cpu.max)"
else
    echo "memory: $(cat $cg/memory/memory.limit_in_bytes) bytes"
    echo "pids: $(cat $cg/pids/pids.max)"
    echo "cpu: $(cat $cg/cpu/cpu.cfs_quota_us) $(cat $cg/cpu/cpu.cfs_period_us)"
fi

sh -c 'exec dd if=/dev/zero of=/dev/null bs=128M count=1' 2>/dev/null
echo "128 MiB in one process: exit status $? (137 = killed)"

nr() { awk '$1 == "nr_throttled" { print $2 }' $cg/cpu/cpu.stat $cg/cpu.stat 2>/dev/null; }
# Half a processor in each 100 ms. A machine that is busy may not give as much, so
# the loop goes on until it has been stopped once.
before=$(nr)
end=$(($(date +%s) + 60))
while [ "$(nr)" -le "$before" ] && [ "$(date +%s)" -lt "$end" ]; do
    for _ in $(seq 50000); do :; done
done
[ "$(nr)" -gt "$before" ] && echo "a busy loop: throttled"

# A shell that can't fork gives up. Nor can this one from here on: built-ins only.
made=$(sh -c 'for i in $(seq 100); do sleep 100 >/dev/null & echo $i; done' 2>/dev/null)
newline='
'
echo "100 processes at once: ${made##*"$newline"} made, then no more"
