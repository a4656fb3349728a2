# Runs inside the container.
echo "/data (a directory of the host): $(cat /data/from-host)"
echo 'from the container' >/data/from-container
echo "/etc/motd (a file of the host): $(cat /etc/motd)"
echo changed 2>/dev/null >/etc/motd || echo "/etc/motd can't be written"
echo changed 2>/dev/null >/new || echo "the root filesystem can't be written"
df -k /scratch | awk 'END { print "/scratch: " $1 " of " $2 " KiB" }'
dd if=/dev/zero of=/scratch/fill bs=64k count=32 2>/dev/null || echo "/scratch is full at $(stat -c %s /scratch/fill) bytes"
