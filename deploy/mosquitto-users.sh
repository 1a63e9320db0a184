#!/bin/sh
# Makes the user of ingest, gridgate, at a mosquitto with the plugin dynamic-security, and its rights. Once:
#   mosquitto_ctrl dynsec init /var/lib/mosquitto/dynamic-security.json admin   # before mosquitto starts
#   ADMIN_PASSWORD=... MQTT_PASSWORD=... sh mosquitto-users.sh -h HOST -p 8883 --cafile ca.pem
# The options are those of mosquitto_ctrl.
set -eu

control() { mosquitto_ctrl -u admin -P "$ADMIN_PASSWORD" "$@"; }
allow() { control "$@" allow; }

# A client that takes the client id of another, and so its session, must not get what comes for that one.
control "$@" dynsec setDefaultACLAccess publishClientReceive deny
control "$@" dynsec createRole gridgate
for topic in oadr/meter/+ ven/loads/+ ven/status/+ ven/ack/+; do
    allow "$@" dynsec addRoleACL gridgate subscribePattern "$topic"
    allow "$@" dynsec addRoleACL gridgate publishClientReceive "$topic"
    # for several ingest processes, which share subscriptions
    allow "$@" dynsec addRoleACL gridgate subscribePattern "\$share/+/$topic"
done
allow "$@" dynsec addRoleACL gridgate publishClientSend "ven/cmd/#"
# The probe: workers with MQTT_SHARE_GROUP check by a message to themselves that shared subscriptions work.
allow "$@" dynsec addRoleACL gridgate publishClientSend "gridgate/probe/+"
allow "$@" dynsec addRoleACL gridgate subscribePattern "\$share/+/gridgate/probe/+"
allow "$@" dynsec addRoleACL gridgate publishClientReceive "gridgate/probe/+"
control "$@" dynsec createClient gridgate -p "$MQTT_PASSWORD"
control "$@" dynsec addClientRole gridgate gridgate
