//! The init of the emulated host: the first and only process that starts by itself in there.
//!
//! A shell script, so that it is short and readable; busybox runs it. It loads KVM, finds its three virtio-serial ports by
//! name, runs the command, hands over the command's files and waits to be told to power off: output that is still on its
//! way through a port would be lost by a power-off (the kernel's port writes are asynchronous, drivers/char/virtio_console.c).

/// Name of the port that carries the command's output, then the end marker.
pub(super) const OUTPUT_PORT: &str = "tmem.output";
/// Name of the port that carries signed lines both ways.
pub(super) const CONTROL_PORT: &str = "tmem.control";
/// Name of the port that carries a tar archive of /out.
pub(super) const FILES_PORT: &str = "tmem.files";

/// Where the init finds its nonce; it is deleted before the command starts.
pub(super) const NONCE_FILE: &str = "/lab/nonce";
/// Where the init finds the command.
pub(super) const COMMAND_FILE: &str = "/lab/command";

/// The script. /modules/order, in load order, comes from the images' builder.
pub(super) const SCRIPT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /tmp /out /run
mount -t tmpfs -o size=90% tmp /tmp

for port in /sys/class/virtio-ports/*; do
    case $(cat $port/name) in
    tmem.output) output=/dev/${port##*/} ;;
    tmem.control) control=/dev/${port##*/} ;;
    tmem.files) files=/dev/${port##*/} ;;
    esac
done
exec 3>$output 4<>$control
nonce=$(cat /lab/nonce)
rm /lab/nonce
say() { echo "$nonce $*" >&4; }

wait_for_off() {
    while read -r word <&4; do [ "$word" = off ] && break; done
    poweroff -f
}
fail() {
    say failed "$*"
    wait_for_off
}

for module in $(cat /modules/order); do
    insmod /modules/$module.ko || fail "insmod $module, see console.log"
done
[ -c /dev/kvm ] || fail "no /dev/kvm after loading the modules of KVM"

# Asked for when nothing moves: tmem prints registers and console tails on SIGQUIT.
dump() {
    echo "== lab: no progress, processes:"
    ps
    running=$(pidof tmem)
    [ -n "$running" ] && kill -QUIT $running
    usleep 3000000
    for pid in $running; do
        for task in /proc/$pid/task/*; do
            echo "== lab: $(cat $task/comm) ($task): $(cat $task/wchan)"
            cat $task/stack
        done
    done
    echo "== lab: last kernel messages:"
    dmesg | tail -n 40
}
finish() {
    tar -c -f /run/out.tar -C /out .
    size=$(stat -c %s /run/out.tar)
    sum=$(sha256sum /run/out.tar)
    cat /run/out.tar >$files
    say files $size ${sum%% *}
    printf '\036%s exit %d\n' $nonce $1 >&3
}

say ready
# Empty lines come all the time; they are only interrupts.
(
    /bin/sh -c "$(cat /lab/command)" </dev/null >&3 2>&1 4>&-
    finish $?
) &
while read -r word <&4; do
    case $word in
    dump)
        dump >&3 2>&1
        say dumped
        ;;
    off) poweroff -f ;;
    esac
done
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_ports_and_files_that_we_do() {
        for name in [OUTPUT_PORT, CONTROL_PORT, FILES_PORT, NONCE_FILE, COMMAND_FILE] {
            assert!(SCRIPT.contains(name), "{name}");
        }
    }

    #[test]
    fn the_nonce_is_gone_before_the_command_runs() {
        let removed = SCRIPT.find("rm /lab/nonce").expect("the script removes it");
        let started = SCRIPT.find("/bin/sh -c").expect("the script runs the command");
        assert!(removed < started);
    }

    #[test]
    fn the_script_is_valid_shell() {
        let mut shell = std::process::Command::new("sh").args(["-n", "-c", SCRIPT]).spawn().unwrap();
        assert!(shell.wait().unwrap().success());
    }
}
