# Runs inside the container, with the layers as its root.
cd /srv || exit
for file in base replaced added removed; do
    if [ -e $file ]; then echo "$file: $(cat $file)"; else echo "$file: not there"; fi
done
echo "directory: $(ls directory)"
echo 'of the container' >written
rm base
echo 'now of the container' >replaced
