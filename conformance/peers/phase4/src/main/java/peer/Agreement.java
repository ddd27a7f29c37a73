package peer;

import com.helger.phase4.CAS4;
import com.helger.phase4.crypto.AS4CryptParams;
import com.helger.phase4.crypto.AS4SigningParams;
import com.helger.phase4.crypto.ECryptoAlgorithmCrypt;
import com.helger.phase4.crypto.ECryptoAlgorithmSign;
import com.helger.phase4.crypto.ECryptoAlgorithmSignDigest;
import com.helger.phase4.model.EMEP;
import com.helger.phase4.model.EMEPBinding;
import com.helger.phase4.model.pmode.PMode;
import com.helger.phase4.model.pmode.PModeParty;
import com.helger.phase4.model.pmode.leg.EPModeSendReceiptReplyPattern;
import com.helger.phase4.model.pmode.leg.PModeLeg;
import com.helger.phase4.model.pmode.leg.PModeLegBusinessInformation;
import com.helger.phase4.model.pmode.leg.PModeLegErrorHandling;
import com.helger.phase4.model.pmode.leg.PModeLegProtocol;
import com.helger.phase4.model.pmode.leg.PModeLegSecurity;
import com.helger.phase4.wss.EWSSVersion;
import java.util.Map;

/** What both sides agreed, as a P-Mode of phase4 and as parameters of its security code. */
final class Agreement {
  final Map<String, String> facts;
  private final ECryptoAlgorithmSign sign;

  Agreement(Map<String, String> facts) {
    this.facts = facts;
    sign = switch (facts.get("profile")) {
      case "edelivery-2.0" -> ECryptoAlgorithmSign.EDDSA_ED25519;
      case "edelivery-2.0-ec" -> ECryptoAlgorithmSign.ECDSA_SHA_256;
      default -> ECryptoAlgorithmSign.RSA_SHA_256;
    };
  }

  String get(String name) {
    return facts.get(name);
  }

  /**
   * What ``initiator`` pushes to ``responder``. A second leg always, in a one-way P-Mode: without it phase4 refuses a reply (a
   * message with RefToMessageId) with EBMS:0010, and with its own two-way binding it acknowledges before it has stored.
   */
  PMode pmode(String initiator, String responder) {
    return pmode(initiator, responder, EMEPBinding.PUSH);
  }

  /** What ``responder`` pulls from ``initiator``, which is who the message is from. */
  PMode pulled(String initiator, String responder) {
    return pmode(initiator, responder, EMEPBinding.PULL);
  }

  private PMode pmode(String initiator, String responder, EMEPBinding binding) {
    PModeParty from = new PModeParty(get("partyType"), initiator, CAS4.DEFAULT_INITIATOR_URL, null, null);
    PModeParty to = new PModeParty(get("partyType"), responder, CAS4.DEFAULT_RESPONDER_URL, null, null);
    PModeLeg second = "false".equals(get("secondLeg")) ? null : leg();
    return new PMode(initiator + "-" + responder, from, to, "", EMEP.ONE_WAY, binding, leg(), second, null, null);
  }

  private PModeLeg leg() {
    PModeLegErrorHandling errors = PModeLegErrorHandling.createUndefined();
    errors.setReportAsResponse(true);
    PModeLegSecurity security = new PModeLegSecurity();
    security.setWSSVersion(EWSSVersion.WSS_111);
    security.setX509SignatureAlgorithm(sign);
    security.setX509SignatureHashFunction(ECryptoAlgorithmSignDigest.DIGEST_SHA_256);
    security.setX509EncryptionAlgorithm(ECryptoAlgorithmCrypt.AES_128_GCM);
    security.setX509EncryptionMinimumStrength(128);
    security.setSendReceipt(true);
    security.setSendReceiptNonRepudiation(true);
    security.setSendReceiptReplyPattern(EPModeSendReceiptReplyPattern.RESPONSE);
    PModeLegBusinessInformation business =
        PModeLegBusinessInformation.create(get("service"), get("action"), null, CAS4.DEFAULT_MPC_ID);
    business.setServiceType(get("serviceType"));
    PModeLegProtocol protocol = PModeLegProtocol.createForDefaultSoapVersion(get("url"));
    return new PModeLeg(protocol, business, errors, null, security);
  }

  void signing(AS4SigningParams params) {
    params.setAlgorithmSign(sign).setAlgorithmSignDigest(ECryptoAlgorithmSignDigest.DIGEST_SHA_256);
  }

  void encryption(AS4CryptParams params) {
    params.setAlgorithmCrypt(ECryptoAlgorithmCrypt.AES_128_GCM);
    switch (get("profile")) {
      case "edelivery-2.0" -> params.setEDelivery2KeyAgreementX25519();
      case "edelivery-2.0-ec" -> params.setEDelivery2KeyAgreementECDHES();
      default -> { }
    }
  }
}
