"""Domibus P-Mode files for tests: a whole one of fictitious harbour towns, and a way to change it in one place."""

from __future__ import annotations

from gateways.as4.moving import domibus
from gateways.as4.moving.shape import Finding

EB = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"

WHOLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<db:configuration xmlns:db="http://domibus.eu/configuration" party="North_Harbour">
  <mpcs>
    <mpc name="defaultMpc" qualifiedName="{EB}defaultMPC" enabled="true" default="true" retention_downloaded="0"
         retention_undownloaded="14400"/>
    <mpc name="sideMpc" qualifiedName="urn:fictitious:side" enabled="true" default="false" retention_downloaded="0"
         retention_undownloaded="14400"/>
  </mpcs>
  <businessProcesses>
    <roles>
      <role name="first" value="{EB}initiator"/>
      <role name="second" value="{EB}responder"/>
      <role name="pilot" value="urn:fictitious:role:pilot"/>
    </roles>
    <parties>
      <partyIdTypes><partyIdType name="towns" value="urn:fictitious:towns"/></partyIdTypes>
      <party name="North_Harbour" endpoint="https://north.harbour.example:8443/services/msh">
        <identifier partyId="north-harbour" partyIdType="towns"/>
      </party>
      <party name="South_Valley" endpoint="https://south.valley.example/as4">
        <identifier partyId="south-valley" partyIdType="towns"/>
      </party>
      <party name="East_Ridge" endpoint="https://east.ridge.example/as4">
        <identifier partyId="east-ridge" partyIdType="towns"/>
      </party>
    </parties>
    <meps>
      <mep name="oneway" value="{EB}oneWay"/>
      <mep name="twoway" value="{EB}twoWay"/>
      <binding name="push" value="{EB}push"/>
      <binding name="pull" value="{EB}pull"/>
      <binding name="pushAndPush" value="{EB}pushAndPush"/>
    </meps>
    <properties>
      <property name="senderProperty" key="originalSender" datatype="string" required="true"/>
      <property name="recipientProperty" key="finalRecipient" datatype="string" required="true"/>
      <property name="berthProperty" key="berth" datatype="string" required="true"/>
      <propertySet name="corners">
        <propertyRef property="senderProperty"/><propertyRef property="recipientProperty"/>
      </propertySet>
      <propertySet name="berths"><propertyRef property="berthProperty"/></propertySet>
    </properties>
    <payloadProfiles>
      <payload name="manifest" cid="cid:manifest" required="true" mimeType="text/xml" maxSize="4096"/>
      <payloadProfile name="manifests" maxSize="10000"><attachment name="manifest"/></payloadProfile>
    </payloadProfiles>
    <securities>
      <security name="agreed" policy="eDeliveryAS4Policy_BST.xml" signatureMethod="RSA_SHA256"/>
      <security name="bySubject" policy="eDeliveryAS4Policy.xml" signatureMethod="RSA_SHA256"/>
      <security name="open" policy="doNothingPolicy.xml"/>
    </securities>
    <errorHandlings>
      <errorHandling name="errors" errorAsResponse="true" businessErrorNotifyProducer="true"
                     businessErrorNotifyConsumer="false" deliveryFailureNotifyProducer="true"/>
    </errorHandlings>
    <agreements>
      <agreement name="none" value="" type=""/>
      <agreement name="port" value="urn:fictitious:agreement:port" type=""/>
    </agreements>
    <services>
      <service name="arrivals" value="urn:fictitious:service:arrivals" type="urn:fictitious:services"/>
      <service name="testing" value="{EB}service"/>
    </services>
    <actions>
      <action name="announce" value="announce"/>
      <action name="confirm" value="confirm"/>
      <action name="test" value="{EB}test"/>
    </actions>
    <as4>
      <receptionAwareness name="awareness" retry="12;4;CONSTANT" duplicateDetection="true"/>
      <reliability name="receipts" replyPattern="response" nonRepudiation="true"/>
    </as4>
    <splittingConfigurations>
      <splitting name="large" fragmentSize="20" compression="true" joinInterval="24"/>
    </splittingConfigurations>
    <legConfigurations>
      <legConfiguration name="announceLeg" service="arrivals" action="announce" security="agreed" defaultMpc="defaultMpc"
        receptionAwareness="awareness" reliability="receipts" errorHandling="errors" compressPayloads="true"/>
      <legConfiguration name="confirmLeg" service="arrivals" action="confirm" security="agreed" defaultMpc="defaultMpc"
        receptionAwareness="awareness" reliability="receipts" errorHandling="errors" compressPayloads="true"/>
    </legConfigurations>
    <process name="announcing" agreement="port" mep="oneway" binding="push" initiatorRole="first" responderRole="second">
      <initiatorParties><initiatorParty name="North_Harbour"/></initiatorParties>
      <responderParties><responderParty name="South_Valley"/><responderParty name="East_Ridge"/></responderParties>
      <legs><leg name="announceLeg"/></legs>
    </process>
    <process name="confirming" agreement="port" mep="oneway" binding="push" initiatorRole="first" responderRole="second">
      <initiatorParties><initiatorParty name="South_Valley"/></initiatorParties>
      <responderParties><responderParty name="North_Harbour"/></responderParties>
      <legs><leg name="confirmLeg"/></legs>
    </process>
  </businessProcesses>
</db:configuration>
"""


def changed(*pairs: tuple[str, str], text: str = WHOLE) -> str:
    """The file with the first occurrence of each text replaced; a text that is not there is a mistake of the test."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def read(*pairs: tuple[str, str]) -> domibus.PMode:
    """The file, changed, as it is read."""
    return domibus.read(changed(*pairs).encode(), "pmode.xml")


def about(findings: tuple[Finding, ...] | list[Finding], words: str, level: str = "") -> list[Finding]:
    """Findings whose element or reason holds ``words``."""
    return [f for f in findings if words in f"{f.element}: {f.reason}" and level in ("", f.level)]
