package peer;

import com.helger.mime.MimeType;
import com.helger.mime.parse.MimeTypeParser;
import com.helger.phase4.CAS4;
import com.helger.phase4.attachment.AS4OutgoingAttachment;
import com.helger.phase4.attachment.EAS4CompressionMode;
import com.helger.phase4.crypto.IAS4CryptoFactory;
import com.helger.phase4.ebms3header.Ebms3Error;
import com.helger.phase4.incoming.AS4IncomingProfileSelectorConstant;
import com.helger.phase4.model.pmode.PMode;
import com.helger.phase4.sender.AS4Sender;
import com.helger.phase4.sender.EAS4UserMessageSendResult;
import com.helger.phase4.sender.IAS4SignalMessageValidationResultHandler;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** Sends as phase4 does, and says what it made of the answer. */
final class Courier {
  private final Agreement agreement;
  private final IAS4CryptoFactory sign;
  private final IAS4CryptoFactory crypt;
  private final SharedClient client;
  private final X509Certificate theirs;

  Courier(Agreement agreement) throws Exception {
    this.agreement = agreement;
    Path anchors = Path.of(agreement.get("anchors"));
    sign = Keys.factory(Path.of(agreement.get("signing")), anchors);
    crypt = Keys.factory(Path.of(agreement.get("decryption")), anchors);
    client = new SharedClient(anchors);
    theirs = Keys.certificates(Path.of(agreement.get("encryptFor"))).get(0);
  }

  /** One message. ``wanted``: files (separated by a colon), id, ref, conversation, media, compress, service, action. */
  Map<String, String> send(Map<String, String> wanted) {
    Map<String, String> said = new TreeMap<>();
    String us = agreement.get("us");
    String them = agreement.get("them");
    PMode pmode = agreement.pmode(us, them);
    AS4Sender.BuilderUserMessage builder = AS4Sender.builderUserMessage();
    builder.httpClientFactory(client).cryptoFactorySign(sign).cryptoFactoryCrypt(crypt).as4ProfileID("peer").pmode(pmode)
        .incomingProfileSelector(new AS4IncomingProfileSelectorConstant(null, false))
        .pmodeResolver((id, service, action, initiator, responder, ref, address) -> pmode)
        .receiverCertificate(theirs).withSigningParams(agreement::signing).withCryptParams(agreement::encryption)
        .service(wanted.getOrDefault("serviceType", agreement.get("serviceType")),
            wanted.getOrDefault("service", agreement.get("service")))
        .action(wanted.getOrDefault("action", agreement.get("action")))
        .fromPartyIDType(agreement.get("partyType")).fromPartyID(us).fromRole(CAS4.DEFAULT_INITIATOR_URL)
        .toPartyIDType(agreement.get("partyType")).toPartyID(them).toRole(CAS4.DEFAULT_RESPONDER_URL)
        .conversationID(wanted.getOrDefault("conversation", "conversation-1"))
        .endpointURL(wanted.getOrDefault("url", agreement.get("theirUrl")))
        .signalMsgConsumer((signal, metadata, state) -> {
          said.put("signed", Boolean.toString(state.isSoapSignatureChecked()));
          for (Ebms3Error error : signal.getError())
            said.merge("errors", error.getErrorCode() + " " + error.getDescriptionValue(), (a, b) -> a + "; " + b);
        })
        .signalMsgValidationResultHdl(new Digests(said));
    if ("".equals(wanted.get("serviceType"))) builder.service(null, wanted.get("service"));
    if (wanted.containsKey("id")) builder.messageID(wanted.get("id"));
    if (wanted.containsKey("ref")) builder.refToMessageID(wanted.get("ref"));
    String files = wanted.getOrDefault("files", "");
    int number = 0;
    for (String file : files.isEmpty() ? new String[0] : files.split(":")) {
      AS4OutgoingAttachment part = part(Path.of(file), wanted);
      if (number++ == 0) builder.payload(part);
      else builder.addAttachment(part);
    }
    EAS4UserMessageSendResult result = builder.sendMessageAndCheckForReceipt(error -> said.put("exception",
        String.valueOf(error.getCause() == null ? error : error.getCause()).replaceAll("\\s+", " ")));
    said.put("result", result.name());
    return said;
  }

  static AS4OutgoingAttachment part(Path file, Map<String, String> wanted) {
    MimeType media = MimeTypeParser.safeParseMimeType(wanted.getOrDefault("media", "application/octet-stream"));
    boolean compress = !"false".equals(wanted.get("compress"));
    return AS4OutgoingAttachment.builder().data(file.toFile()).mimeType(media)
        .compression(compress ? EAS4CompressionMode.GZIP : null).build();
  }

  /** The same message from several threads for some seconds, and for `least` messages at the least: how many, how long. */
  Map<String, String> load(Map<String, String> wanted) throws Exception {
    int threads = Integer.parseInt(wanted.get("threads"));
    int least = Integer.parseInt(wanted.getOrDefault("least", "0"));
    double seconds = Double.parseDouble(wanted.get("seconds"));
    AtomicInteger begun = new AtomicInteger();
    AtomicInteger good = new AtomicInteger();
    AtomicInteger bad = new AtomicInteger();
    Map<String, String> said = new ConcurrentHashMap<>();
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    long start = System.nanoTime();
    for (int i = 0; i < threads; i++)
      pool.submit(() -> {
        while ((System.nanoTime() - start) / 1e9 < seconds || begun.get() < least) {
          begun.incrementAndGet();
          Map<String, String> one = send(wanted);
          if (holds(one)) good.incrementAndGet();
          else {
            bad.incrementAndGet();
            said.put("words", one.toString());
          }
        }
      });
    pool.shutdown();
    pool.awaitTermination(1, TimeUnit.HOURS);
    said.put("good", good.toString());
    said.put("bad", bad.toString());
    said.put("seconds", Double.toString((System.nanoTime() - start) / 1e9));
    return said;
  }

  private static boolean holds(Map<String, String> said) {
    return "SUCCESS".equals(said.get("result")) && "match".equals(said.get("digests")) && "true".equals(said.get("signed"));
  }

  /** Whether the receipt's digests are those of the message. */
  record Digests(Map<String, String> said) implements IAS4SignalMessageValidationResultHandler {
    @Override
    public void onSuccess() {
      said.put("digests", "match");
    }

    @Override
    public void onError(String cause) {
      said.put("digests", cause.replaceAll("\\s+", " "));
    }

    @Override
    public void onNotApplicable() {
      said.put("digests", "none");
    }
  }
}
