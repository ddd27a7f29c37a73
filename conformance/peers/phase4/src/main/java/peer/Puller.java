package peer;

import com.helger.phase4.client.AS4ClientReceiptMessage;
import com.helger.phase4.crypto.IAS4CryptoFactory;
import com.helger.phase4.ebms3header.Ebms3Error;
import com.helger.phase4.ebms3header.Ebms3UserMessage;
import com.helger.phase4.incoming.AS4IncomingProfileSelectorConstant;
import com.helger.phase4.incoming.IAS4IncomingMessageState;
import com.helger.phase4.sender.AS4Sender;
import com.helger.phase4.util.AS4ResourceHelper;
import com.helger.phase4.util.Phase4Exception;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.apache.hc.core5.http.io.entity.EntityUtils;

/** Pulls as phase4 does, stores what came, and acknowledges it: phase4's puller itself sends no receipt. */
final class Puller {
  private final Agreement agreement;
  private final Inbox inbox;
  private final IAS4CryptoFactory crypt;
  private final SharedClient client;

  Puller(Agreement agreement, Inbox inbox) throws Exception {
    this.agreement = agreement;
    this.inbox = inbox;
    Path anchors = Path.of(agreement.get("anchors"));
    crypt = Keys.factory(Path.of(agreement.get("decryption")), anchors);
    client = new SharedClient(anchors);
  }

  /** Ask once. ``wanted``: mpc, signing (another key than the agreed one), receipt (false: keep silent about what came). */
  Map<String, String> pull(Map<String, String> wanted) throws Exception {
    Map<String, String> said = new TreeMap<>();
    Path key = Path.of(wanted.getOrDefault("signing", agreement.get("signing")));
    IAS4CryptoFactory sign = Keys.factory(key, Path.of(agreement.get("anchors")));
    AS4Sender.BuilderPullRequest builder = AS4Sender.builderPullRequest();
    builder.httpClientFactory(client).cryptoFactorySign(sign).cryptoFactoryCrypt(crypt).as4ProfileID("peer")
        .incomingProfileSelector(new AS4IncomingProfileSelectorConstant(null, false))
        .pmodeResolver((id, service, action, initiator, responder, ref, address) -> agreement.pulled(initiator, responder))
        .withSigningParams(agreement::signing).withCryptParams(agreement::encryption)
        .pmode(agreement.pulled(agreement.get("them"), agreement.get("us"))).mpc(wanted.get("mpc"))
        .endpointURL(agreement.get("theirUrl"))
        .signalMsgConsumer((signal, metadata, state) -> {
          said.put("signed", Boolean.toString(state.isSoapSignatureChecked()));
          for (Ebms3Error error : signal.getError())
            said.merge("errors", error.getErrorCode() + " " + error.getDescriptionValue(), (a, b) -> a + "; " + b);
        })
        .userMsgConsumer((message, metadata, state) -> taken(message, state, sign, wanted, said));
    try {
      said.put("result", builder.sendMessage().name());
    } catch (Phase4Exception error) {
      said.put("exception", words(error));
    }
    return said;
  }

  private static String words(Throwable error) {
    return String.valueOf(error.getCause() == null ? error : error.getCause()).replaceAll("\\s+", " ");
  }

  private void taken(Ebms3UserMessage message, IAS4IncomingMessageState state, IAS4CryptoFactory sign,
      Map<String, String> wanted, Map<String, String> said) throws Phase4Exception {
    said.put("message", message.getMessageInfo().getMessageId());
    said.put("signed", Boolean.toString(state.isSoapSignatureChecked()));
    said.put("decrypted", Boolean.toString(state.isSoapDecrypted()));
    try {
      inbox.keep(message, state.hasDecryptedAttachments() ? state.getDecryptedAttachments() : state.getOriginalAttachments(),
          state);
      if (!"false".equals(wanted.get("receipt"))) said.put("answer", acknowledge(message, state, sign));
    } catch (Exception error) {
      throw new Phase4Exception("not stored or not acknowledged", error);
    }
  }

  private String acknowledge(Ebms3UserMessage message, IAS4IncomingMessageState state, IAS4CryptoFactory sign)
      throws Exception {
    try (AS4ResourceHelper resources = new AS4ResourceHelper()) {
      AS4ClientReceiptMessage receipt = new AS4ClientReceiptMessage(resources);
      receipt.setNonRepudiation(true).setReceiptShouldBeSigned(true).setEbms3UserMessage(message)
          .setSoapDocument(state.getOriginalSoapDocument());
      receipt.setCryptoFactorySign(sign);
      receipt.getHttpPoster().setHttpClientFactory(client);
      agreement.signing(receipt.signingParams());
      return receipt.sendMessageWithRetries(agreement.get("theirUrl"), response -> {
        EntityUtils.consume(response.getEntity());
        return Integer.toString(response.getCode());
      }, null, null, null).getResponseContent();
    }
  }
}
