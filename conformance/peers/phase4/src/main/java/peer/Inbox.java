package peer;

import com.helger.collection.commons.ICommonsList;
import com.helger.http.header.HttpHeaderMap;
import com.helger.phase4.attachment.WSS4JAttachment;
import com.helger.phase4.ebms3header.Ebms3SignalMessage;
import com.helger.phase4.ebms3header.Ebms3UserMessage;
import com.helger.phase4.error.AS4ErrorList;
import com.helger.phase4.incoming.IAS4IncomingMessageMetadata;
import com.helger.phase4.incoming.IAS4IncomingMessageState;
import com.helger.phase4.incoming.spi.AS4MessageProcessorResult;
import com.helger.phase4.incoming.spi.AS4SignalMessageProcessorResult;
import com.helger.phase4.incoming.spi.IAS4IncomingMessageProcessorSPI;
import com.helger.phase4.model.pmode.IPMode;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.w3c.dom.Node;

/** Stores what arrives, synced before phase4 makes the receipt: a folder per MessageId, a file per payload. */
final class Inbox implements IAS4IncomingMessageProcessorSPI {
  private final Path folder;
  private final Channel channel;
  private final AtomicLong messages = new AtomicLong();
  private final AtomicLong synced = new AtomicLong();

  Inbox(Path folder, Channel channel) {
    this.folder = folder;
    this.channel = channel;
  }

  @Override
  public AS4MessageProcessorResult processAS4UserMessage(IAS4IncomingMessageMetadata metadata, HttpHeaderMap headers,
      Ebms3UserMessage message, IPMode pmode, Node payload, ICommonsList<WSS4JAttachment> attachments,
      IAS4IncomingMessageState state, AS4ErrorList errors) {
    try {
      keep(message, attachments, state);
      return AS4MessageProcessorResult.createSuccess();
    } catch (Exception error) {
      System.err.println("inbox: " + error);
      return AS4MessageProcessorResult.createFailure();
    }
  }

  /** Store the payloads of a message, each synced, and then what is to be known of it. */
  void keep(Ebms3UserMessage message, List<WSS4JAttachment> attachments, IAS4IncomingMessageState state) throws Exception {
    String name = message.getMessageInfo().getMessageId().replaceAll("[^A-Za-z0-9._@-]", "_");
    Path own = Files.createDirectories(folder.resolve(name));
    int number = 0;
    if (attachments != null)
      for (WSS4JAttachment attachment : attachments) store(attachment, own.resolve("part-" + number++));
    String ref = message.getMessageInfo().getRefToMessageId();
    String conversation = message.getCollaborationInfo().getConversationId();
    Files.writeString(own.resolve("facts"), "ref=" + (ref == null ? "" : ref) + "\nconversation=" + conversation
        + "\nsigned=" + state.isSoapSignatureChecked() + "\ndecrypted=" + state.isSoapDecrypted() + "\n");
    messages.incrementAndGet();
  }

  /** How many messages were kept, and how many payloads synced. */
  Map<String, String> stored() {
    return Map.of("messages", messages.toString(), "synced", synced.toString());
  }

  private void store(WSS4JAttachment attachment, Path target) throws Exception {
    Path part = target.resolveSibling(target.getFileName() + ".part");
    try (InputStream in = attachment.getSourceStream(); FileOutputStream out = new FileOutputStream(part.toFile())) {
      in.transferTo(out);
      out.getFD().sync();
      synced.incrementAndGet();
    }
    Files.move(part, target, StandardCopyOption.REPLACE_EXISTING); // a message may be pulled twice
  }

  @Override
  public AS4SignalMessageProcessorResult processAS4SignalMessage(IAS4IncomingMessageMetadata metadata,
      HttpHeaderMap headers, Ebms3SignalMessage signal, IPMode pmode, IAS4IncomingMessageState state,
      AS4ErrorList errors) {
    try {
      if (signal.getPullRequest() != null) return channel.answer(signal);
      channel.heard(signal.getMessageInfo().getRefToMessageId());
      return AS4SignalMessageProcessorResult.createSuccess();
    } catch (Exception error) {
      System.err.println("channel: " + error);
      return AS4SignalMessageProcessorResult.createFailure();
    }
  }

  @Override
  public void processAS4ResponseMessage(IAS4IncomingMessageMetadata metadata, IAS4IncomingMessageState state,
      String id, byte[] octets, boolean available, AS4ErrorList errors) {}
}
