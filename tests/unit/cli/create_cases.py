"""Option combinations of `create` whose requests are compared with those of Docker's client."""

from __future__ import annotations

_LINES = """
busybox
busybox sh -c 'x y'
--name n -h host --domainname d -u 1:2 -w /w busybox
-i -t busybox
-it busybox sh
-a stdout busybox
-a STDIN -a stderr busybox
-e A=b -e GIVEN -e ABSENT -e C= busybox
--env-file env -e Z=1 busybox
-l a=1 -l b -l c= --label-file labels busybox
--entrypoint sh busybox -c true
--entrypoint= busybox
--init busybox
--init=false busybox
--rm busybox
--rm --restart no busybox
--rm --restart always busybox
--restart on-failure:3 busybox
--restart unless-stopped busybox
--restart on-failure:x busybox
--restart :3 busybox
--privileged --read-only -P --oom-kill-disable busybox
--cap-add NET_ADMIN --cap-add ALL --cap-drop MKNOD busybox
--cap-add cap_chown --cap-add CHOWN --cap-drop chown --cap-drop all busybox
--memory 512m --memory-swap -1 --memory-reservation 256M --memory-swappiness 0 busybox
-m 1.5g --shm-size 64MiB busybox
-m 1000 busybox
-m 5x busybox
-m 5bb busybox
-m -5 busybox
--memory-swappiness 101 busybox
--cpus 1.5 -c 512 --cpu-period 100000 --cpu-quota 50000 --cpuset-cpus 0-1 --cpuset-mems 0 busybox
--cpus .5 busybox
--cpus 1/3 busybox
--cpu-rt-period 5 --cpu-rt-runtime 6 busybox
--blkio-weight 100 --blkio-weight-device /dev/sda:200 busybox
--blkio-weight-device /dev/sda:5 busybox
--blkio-weight-device sda:100 busybox
--device-read-bps /dev/sda:1mb --device-write-bps /dev/sda:2k busybox
--device-read-iops /dev/sda:100 --device-write-iops /dev/sda:200 busybox
--device-read-bps /dev/sda:x busybox
--device-read-iops /dev/sda:x busybox
--pids-limit 10 --oom-score-adj -500 busybox
--pids-limit -1 busybox
--ulimit nofile=1024:2048 --ulimit core=0 busybox
--ulimit nofile=5:3 busybox
--ulimit nofile=-1 busybox
--ulimit nofile=1:2:3 busybox
--ulimit foo=1 busybox
--ulimit nofile=x busybox
--ulimit nproc=3 --ulimit nofile=10 --ulimit nproc=4 busybox
-p 80 busybox
-p 8080:80 busybox
-p 127.0.0.1:8080:80/udp busybox
-p 127.0.0.1::80 busybox
-p [::1]:8080:80 busybox
-p ::1:8080:80 busybox
-p 8080-8082:80-82 busybox
-p 8080-8090:80 busybox
-p 8080-8082:80-81 busybox
-p 80/foo busybox
-p 1.2.3:80:80 busybox
-p 99999:80 busybox
-p 80:99999 busybox
-p 8080: busybox
-p published=8080,target=80 busybox
-p published=8080,target=80,protocol=udp busybox
-p published=8080,target busybox
-p 80:80 -p 80:81 -p 81:80 busybox
-p 90-80 busybox
--expose 80 --expose 90-92/udp busybox
--expose 80:90 busybox
--expose x busybox
--expose 92-90 busybox
-v /data busybox
-v name:/data busybox
-v /a:/b:ro busybox
-v ./rel:/b busybox
-v ./a/../rel:/b:ro busybox
-v rel/dir:/b busybox
-v aa:bb:cc:dd busybox
-v aa::ro busybox
-v c:/x busybox
-v ~/x:/y busybox
-v /a:/b:rw,z,shared busybox
--volumes-from other --volumes-from x:ro --volume-driver local busybox
--tmpfs /run --tmpfs /tmp:rw,size=10m busybox
--mount type=bind,source=/a,target=/b busybox
--mount type=bind,src=./x,dst=/b,readonly busybox
--mount type=bind,src=/a,dst=/b,bind-propagation=rshared,bind-nonrecursive busybox
--mount type=bind,src=/a,dst=/b,ro,bind-recursive=writable busybox
--mount type=bind,src=/a,dst=/b,bind-recursive=disabled busybox
--mount type=bind,src=/a,dst=/b,bind-recursive=readonly busybox
--mount type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate busybox
--mount type=bind,src=/a,dst=/b,bind-recursive=foo busybox
--mount source=vol,target=/b,volume-nocopy busybox
--mount type=volume,src=vol,dst=/b,volume-driver=nfs,volume-opt=a=b,volume-opt=c=d,volume-label=x=y,volume-subpath=p busybox
--mount type=volume,dst=/b,ro=false busybox
--mount type=tmpfs,dst=/b,tmpfs-size=10m,tmpfs-mode=1770 busybox
--mount type=tmpfs,dst=/b,tmpfs-mode=999 busybox
--mount type=tmpfs,dst=/b,tmpfs-size=x busybox
--mount type=image,src=busybox,dst=/b,image-subpath=bin busybox
--mount type=bind,src=/a,dst=/b,volume-nocopy busybox
--mount type=bind,src=/a,dst=/b,foo=bar busybox
--mount type=bind,src=/a,dst=/b,foo busybox
--mount type=bind,src=/a busybox
--mount 'type=bind,"src=/a,b",dst=/b' busybox
--mount type=bind,src=/a,dst=/b,readonly=maybe busybox
--mount '' busybox
--device /dev/null busybox
--device /dev/null:/dev/x:r busybox
--device /dev/null:rw busybox
--device /dev/null:/dev/x:q busybox
--device /dev/null:x busybox
--device vendor.com/gpu=0 busybox
--device-cgroup-rule 'c 1:3 mr' busybox
--device-cgroup-rule 'c 1:3 x' busybox
--gpus all busybox
--gpus 2 busybox
--gpus device=0 busybox
--gpus '"device=0,1",capabilities=utility' busybox
--gpus driver=nvidia,count=1,options=a=b busybox
--gpus foo=bar busybox
--gpus x busybox
--dns 1.1.1.1 --dns 2606::1 --dns-search example.com --dns-search . --dns-option ndots:2 --dns-opt x busybox
--dns x busybox
--dns-search bad..domain busybox
--add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway --add-host d=[::2] busybox
--add-host a busybox
--add-host a:b busybox
--network host busybox
--network none busybox
--network container:abc busybox
--network bridge busybox
--net mynet busybox
--network mynet --ip 10.0.0.5 --ip6 fd00::5 --network-alias a --net-alias b --link other:o --link-local-ip 169.254.1.1 busybox
--network name=mynet,alias=x,ip=10.0.0.6,driver-opt=a=b,mac-address=02:42:ac:11:00:02,gw-priority=5 busybox
--network one --network name=two,alias=t busybox
--network one --network bridge busybox
--network one --network one busybox
--network name=mynet,alias=x --network-alias y busybox
--network name=mynet,ip=10.0.0.6 --ip 10.0.0.7 busybox
--network alias=x busybox
--network name=x,foo=bar busybox
--network name=x,gw-priority=y busybox
--network bridge --network-alias a busybox
--network host --link a busybox
--link a:b busybox
--link a:b:c busybox
--ip 10.0.0.5 busybox
--mac-address 02:42:ac:11:00:02 busybox
--mac-address 02:42:ac:11:00:02 --network mynet busybox
--mac-address xx busybox
--network-alias a busybox
--pid host --ipc host --uts host --userns host --cgroupns host --cgroup-parent /x busybox
--pid container:abc --ipc container:abc --cgroupns private busybox
--ipc shareable --runtime runc --isolation default busybox
--pid foo busybox
--uts foo busybox
--userns foo busybox
--cgroupns foo busybox
--log-driver json-file --log-opt max-size=10m --log-opt max-file=3 busybox
--log-driver none --log-opt a=b busybox
--log-opt max-size=1m busybox
--security-opt no-new-privileges --security-opt seccomp=unconfined --security-opt apparmor=x busybox
--security-opt no-new-privileges=true --security-opt label=disable --security-opt label:type:x busybox
--security-opt seccomp=seccomp.json busybox
--security-opt seccomp:seccomp.json busybox
--security-opt seccomp=absent.json busybox
--security-opt systempaths=unconfined busybox
--security-opt foo busybox
--storage-opt size=10G busybox
--storage-opt size busybox
--sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=5 busybox
--sysctl vm.swappiness=1 busybox
--annotation a=b --annotation c=d busybox
--stop-signal TERM --stop-timeout 5 busybox
--stop-timeout 0 busybox
--health-cmd true --health-interval 5s --health-timeout 1m30s --health-retries 3 --health-start-period 1.5s --health-start-interval 250ms busybox
--health-retries 3 busybox
--health-interval -5s busybox
--health-interval 5 busybox
--health-interval 5x busybox
--no-healthcheck busybox
--no-healthcheck --health-cmd x busybox
--group-add audio --group-add 5 busybox
--platform linux/arm64 busybox
--pull never busybox
--pull sometimes busybox
--env-file bad-env busybox
--env-file absent busybox
--label-file absent busybox
-l =x busybox
-e =x busybox
--blkio-weight x busybox
--cpu-shares 1.5 busybox
--oom-score-adj 0x10 busybox
--rm=x busybox
--rm=false -t=true busybox
--nosuch busybox
-Z busybox
-itZ busybox
--name
-e
-vx:/y -eA=1 busybox
-p=80:80 busybox
--=x busybox
Busybox
busybox:UPPER
busy@box
localhost:5000/Foo
localhost:5000/foo/bar:tag@sha256:0123456789012345678901234567890123456789012345678901234567890123
a:b:c
http://x
-- busybox -x
busybox --rm -it
--detach busybox
"""


def _split(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


CASES = [_split(line) for line in _LINES.strip().splitlines()]
