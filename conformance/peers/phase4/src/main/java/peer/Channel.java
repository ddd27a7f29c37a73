package peer;

import com.helger.http.header.HttpHeaderMap;
import com.helger.phase4.CAS4;
import com.helger.phase4.attachment.IAS4IncomingAttachmentFactory;
import com.helger.phase4.attachment.WSS4JAttachment;
import com.helger.phase4.client.AS4ClientBuiltMessage;
import com.helger.phase4.client.AS4ClientSentMessage;
import com.helger.phase4.client.AS4ClientUserMessage;
import com.helger.phase4.client.IAS4ClientBuildMessageCallback;
import com.helger.phase4.crypto.AS4SigningParams;
import com.helger.phase4.crypto.IAS4CryptoFactory;
import com.helger.phase4.ebms3header.Ebms3Error;
import com.helger.phase4.ebms3header.Ebms3SignalMessage;
import com.helger.phase4.ebms3header.Ebms3UserMessage;
import com.helger.phase4.incoming.AS4IncomingHandler;
import com.helger.phase4.incoming.AS4IncomingMessageMetadata;
import com.helger.phase4.incoming.AS4IncomingProfileSelectorConstant;
import com.helger.phase4.incoming.AS4IncomingReceiverConfiguration;
import com.helger.phase4.incoming.IAS4IncomingMessageMetadata;
import com.helger.phase4.incoming.IAS4IncomingMessageState;
import com.helger.phase4.incoming.crypto.AS4IncomingSecurityConfiguration;
import com.helger.phase4.incoming.spi.AS4SignalMessageProcessorResult;
import com.helger.phase4.model.message.AS4UserMessage;
import com.helger.phase4.model.message.AbstractAS4Message;
import com.helger.phase4.model.pmode.PMode;
import com.helger.phase4.sender.ValidatingAS4SignalMsgConsumer;
import com.helger.phase4.servlet.AS4UnifiedResponse;
import com.helger.phase4.util.AS4ResourceHelper;
import com.helger.phase4.util.Phase4Exception;
import java.io.ByteArrayOutputStream;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.hc.core5.http.message.BasicHttpResponse;

/**
 * What waits to be pulled from phase4. phase4 itself answers a request unsigned, unencrypted and without attachments, so the
 * answer is built with its own client code and put in place of that one; ``native`` leaves phase4's answer as it is, ``alone``
 * leaves it alone with the receipt.
 */
final class Channel {
  /** A message that was made for a puller: its octets as they travel. */
  private record Made(String type, byte[] octets) {}

  private final Agreement agreement;
  private final IAS4CryptoFactory sign;
  private final IAS4CryptoFactory crypt;
  private final X509Certificate theirs;
  private final Deque<Map<String, String>> waiting = new ArrayDeque<>();
  private final Map<String, AS4ClientBuiltMessage> given = new ConcurrentHashMap<>();
  private final Set<String> heard = ConcurrentHashMap.newKeySet();
  private final Set<String> alone = ConcurrentHashMap.newKeySet();
  private final Map<String, Map<String, String>> receipts = new ConcurrentHashMap<>();
  private final ThreadLocal<Made> made = new ThreadLocal<>();
  private int asked;

  Channel(Agreement agreement) throws Exception {
    this.agreement = agreement;
    Path anchors = Path.of(agreement.get("anchors"));
    sign = Keys.factory(Path.of(agreement.get("signing")), anchors);
    crypt = Keys.factory(Path.of(agreement.get("decryption")), anchors);
    theirs = Keys.certificates(Path.of(agreement.get("encryptFor"))).get(0);
  }

  /** Let a message wait. ``wanted``: id, mpc, said, native, alone, and what `Courier.send` takes. */
  synchronized Map<String, String> offer(Map<String, String> wanted) {
    waiting.add(wanted);
    if ("true".equals(wanted.get("alone"))) alone.add(wanted.get("id"));
    return Map.of("waiting", Integer.toString(waiting.size()));
  }

  /** How often it was asked, and what is known of one message's receipt. */
  synchronized Map<String, String> told(Map<String, String> wanted) {
    Map<String, String> said = new TreeMap<>(receipts.getOrDefault(wanted.getOrDefault("id", ""), Map.of()));
    said.put("asked", Integer.toString(asked));
    said.put("waiting", Integer.toString(waiting.size()));
    return said;
  }

  private synchronized Map<String, String> next(String mpc) {
    asked++;
    for (Map<String, String> one : waiting)
      if (one.get("mpc").equals(mpc)) {
        waiting.remove(one);
        return one;
      }
    return null;
  }

  /** What phase4 is to answer: nothing waits, or a user message that `replace` puts into its full form. */
  AS4SignalMessageProcessorResult answer(Ebms3SignalMessage request) throws Exception {
    made.remove();
    Map<String, String> one = next(request.getPullRequest().getMpc());
    if (one == null) return AS4SignalMessageProcessorResult.createSuccess();
    Ebms3UserMessage[] header = new Ebms3UserMessage[1];
    try (AS4ResourceHelper resources = new AS4ResourceHelper()) {
      AS4ClientBuiltMessage built = message(one, resources).buildMessage(one.get("id"), marked(one.get("said"), header));
      ByteArrayOutputStream octets = new ByteArrayOutputStream();
      built.getHttpEntity().writeTo(octets);
      String type = built.getAllCustomHttpHeaders().getFirstHeaderValue("Content-Type");
      if (!"true".equals(one.get("native"))) made.set(new Made(type.replaceAll("\\s+", " "), octets.toByteArray()));
      given.put(one.get("id"), built);
    }
    return AS4SignalMessageProcessorResult.createSuccess(null, null, header[0]);
  }

  /** phase4's client code never writes the channel's name into a message, and its receiver may demand it. */
  private static IAS4ClientBuildMessageCallback marked(String mpc, Ebms3UserMessage[] header) {
    return new IAS4ClientBuildMessageCallback() {
      @Override
      public void onAS4Message(AbstractAS4Message<?> message) {
        header[0] = ((AS4UserMessage) message).getEbms3UserMessage();
        if (mpc != null) header[0].setMpc(mpc);
      }
    };
  }

  private AS4ClientUserMessage message(Map<String, String> wanted, AS4ResourceHelper resources) throws Exception {
    AS4ClientUserMessage message = new AS4ClientUserMessage(resources);
    message.setCryptoFactorySign(sign);
    message.setCryptoFactoryCrypt(crypt);
    agreement.signing(message.signingParams());
    agreement.encryption(message.cryptParams());
    message.cryptParams().setCertificate(theirs);
    message.setServiceType(agreement.get("serviceType"));
    message.setServiceValue(agreement.get("service"));
    message.setAction(wanted.getOrDefault("action", agreement.get("action")));
    message.setConversationID(wanted.getOrDefault("conversation", "conversation-1"));
    message.setFromPartyIDType(agreement.get("partyType")).setFromPartyID(agreement.get("us"));
    message.setFromRole(CAS4.DEFAULT_RESPONDER_URL);
    message.setToPartyIDType(agreement.get("partyType")).setToPartyID(agreement.get("them"));
    message.setToRole(CAS4.DEFAULT_INITIATOR_URL);
    message.setPModeID(null);
    if (wanted.containsKey("ref")) message.setRefToMessageID(wanted.get("ref"));
    for (String file : wanted.get("files").split(":"))
      message.addAttachment(WSS4JAttachment.createOutgoingFileAttachment(Courier.part(Path.of(file), wanted), resources));
    return message;
  }

  /** Put the full message in place of phase4's own answer. */
  void replace(AS4UnifiedResponse response) {
    Made one = made.get();
    if (one == null) return;
    made.remove();
    response.removeContent();
    response.removeCharset();
    response.removeMimeType();
    response.setContent(one.octets());
    response.addCustomResponseHeader("Content-Type", one.type());
  }

  /** A receipt or an error that came on its own: judged by the code with which phase4 judges one that answers a push. */
  void signalled(String type, byte[] octets) throws Exception {
    PMode pmode = agreement.pulled(agreement.get("us"), agreement.get("them"));
    AS4SigningParams signing = AS4SigningParams.createDefault();
    agreement.signing(signing);
    BasicHttpResponse wrapped = new BasicHttpResponse(200);
    wrapped.addHeader("Content-Type", type);
    try (AS4ResourceHelper resources = new AS4ResourceHelper()) {
      AS4IncomingHandler.parseSignalMessage(sign, crypt, (id, service, action, from, to, ref, address) -> pmode,
          IAS4IncomingAttachmentFactory.DEFAULT_INSTANCE, new AS4IncomingProfileSelectorConstant(null, false), resources,
          pmode, Locale.ROOT, AS4IncomingMessageMetadata.createForRequest(), wrapped, octets, null,
          new AS4IncomingSecurityConfiguration().setSigningParams(signing), new AS4IncomingReceiverConfiguration(),
          this::judged);
    }
  }

  private void judged(Ebms3SignalMessage signal, IAS4IncomingMessageMetadata metadata, IAS4IncomingMessageState state)
      throws Phase4Exception {
    String about = signal.getMessageInfo().getRefToMessageId();
    Map<String, String> said = new TreeMap<>();
    said.put("signed", Boolean.toString(state.isSoapSignatureChecked()));
    for (Ebms3Error error : signal.getError()) said.put("errors", error.getErrorCode() + " " + error.getErrorDetail());
    AS4ClientBuiltMessage message = given.get(about);
    if (message != null && signal.getReceipt() != null)
      new ValidatingAS4SignalMsgConsumer(new AS4ClientSentMessage<>(message, null, new HttpHeaderMap(), null), null,
          new Courier.Digests(said)).handleSignalMessage(signal, metadata, state);
    receipts.put(about, said);
  }

  /** The message whose signals phase4's endpoint is to get, if ``text`` is about one. */
  String leftAlone(String text) {
    return alone.stream().filter(text::contains).findFirst().orElse(null);
  }

  /** phase4's endpoint handed a signal on to its application. */
  void heard(String about) {
    heard.add(about);
  }

  void answeredAlone(String message, int status) {
    String reached = Boolean.toString(heard.contains(message));
    receipts.put(message, Map.of("status", Integer.toString(status), "heard", reached));
  }
}
