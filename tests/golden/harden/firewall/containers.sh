#!/bin/sh
# Made by kmuctl; `kmuctl harden` writes it anew. Docker publishes ports past ufw: these rules decide which of them can be
# reached. They stand in a chain of their own that DOCKER-USER jumps to; Docker leaves both alone.
set -eu

start() {
    for tool in $tools; do
        load
        # Docker, when it comes, takes the chain that is there
        "$tool" -w -N DOCKER-USER 2>/dev/null || true
        "$tool" -w -C FORWARD -j DOCKER-USER 2>/dev/null || "$tool" -w -I FORWARD -j DOCKER-USER
        lead
    done
}

# All rules change in one moment.
load() {
    "$tool-restore" -w --noflush <<'RULES'
*filter
:KMUCTL - [0:0]
-A KMUCTL -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A KMUCTL -i docker+ -j RETURN
-A KMUCTL -i br-+ -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 80 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 -j RETURN
-A KMUCTL -p udp -m conntrack --ctstate DNAT --ctorigdstport 443 -j RETURN
-A KMUCTL -p udp -m conntrack --ctstate DNAT --ctorigdstport 10000 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 3478 -j RETURN
-A KMUCTL -p udp -m conntrack --ctstate DNAT --ctorigdstport 3478 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 5349 -j RETURN
-A KMUCTL -p udp -m conntrack --ctstate DNAT --ctorigdstport 49160:49200 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 25 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 465 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 587 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 993 -j RETURN
-A KMUCTL -p tcp -m conntrack --ctstate DNAT --ctorigdstport 4190 -j RETURN
-A KMUCTL -o docker+ -j DROP
-A KMUCTL -o br-+ -j DROP
COMMIT
RULES
}

# To the chain, before all else in DOCKER-USER; what led there before goes only then, so that no moment is without.
lead() {
    "$tool" -w -I DOCKER-USER -j KMUCTL
    for line in $("$tool" -w -S DOCKER-USER | grep -nFx -- '-A DOCKER-USER -j KMUCTL' | sed -n '2,$s/:.*//p' | sort -rn); do
        # the first line makes the chain and is no rule
        "$tool" -w -D DOCKER-USER $((line - 1))
    done
}

stop() {
    for tool in $tools; do
        while "$tool" -w -D DOCKER-USER -j KMUCTL 2>/dev/null; do :; done
        if "$tool" -w -F KMUCTL 2>/dev/null; then "$tool" -w -X KMUCTL; fi
    done
}

tools=iptables
[ ! -e /proc/net/if_inet6 ] || tools='iptables ip6tables'
case "${1:-}" in
start | stop) "$1" ;;
*) echo "usage: $0 start|stop" >&2; exit 2 ;;
esac
