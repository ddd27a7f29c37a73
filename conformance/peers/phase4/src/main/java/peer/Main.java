package peer;

import com.helger.phase4.incoming.AS4ServerInitializer;
import com.helger.phase4.mgr.MetaAS4Manager;
import com.helger.phase4.model.mpc.MPC;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;

/**
 * phase4 as a peer: receives at /as4 and sends what it is told to on standard input.
 *
 * <p>One line in, one line out: a command and tab-separated name=value pairs; the answer's pairs come back the same way. Ends
 * when standard input does.
 */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) throws Exception {
    PrintStream answers = System.out;
    System.setOut(System.err); // whatever a library prints is no answer
    Properties read = new Properties();
    try (InputStream in = new FileInputStream(arguments[0])) {
      read.load(in);
    }
    Map<String, String> facts = new LinkedHashMap<>();
    read.forEach((name, value) -> facts.put(name.toString(), value.toString()));
    Agreement agreement = new Agreement(facts);
    Channel channel = new Channel(agreement);
    Inbox inbox = new Inbox(Path.of(facts.get("inbox")), channel);
    ChannelModes.agree(agreement);
    Endpoint endpoint = new Endpoint(agreement, inbox, channel);
    AS4ServerInitializer.initAS4Server();
    for (String mpc : facts.getOrDefault("channels", "").split(","))
      if (!mpc.isEmpty()) MetaAS4Manager.getMPCMgr().createMPC(new MPC(mpc));
    Courier courier = new Courier(agreement);
    Puller puller = new Puller(agreement, inbox);
    answers.println("ready\tport=" + endpoint.port());
    answers.flush();
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = commands.readLine(); line != null; line = commands.readLine()) {
      answers.println(answer(courier, channel, puller, inbox, line));
      answers.flush();
    }
    endpoint.stop();
    System.exit(0);
  }

  private static String answer(Courier courier, Channel channel, Puller puller, Inbox inbox, String line) {
    String[] words = line.split("\t");
    Map<String, String> wanted = new LinkedHashMap<>();
    for (int i = 1; i < words.length; i++) {
      int at = words[i].indexOf('=');
      wanted.put(words[i].substring(0, at), words[i].substring(at + 1));
    }
    try {
      Map<String, String> said = switch (words[0]) {
        case "send" -> courier.send(wanted);
        case "load" -> courier.load(wanted);
        case "offer" -> channel.offer(wanted);
        case "told" -> channel.told(wanted);
        case "stored" -> inbox.stored();
        case "pull" -> puller.pull(wanted);
        default -> Map.of("exception", "no such command: " + words[0]);
      };
      StringBuilder text = new StringBuilder("said");
      said.forEach((name, value) -> text.append('\t').append(name).append('=').append(value.replaceAll("\\s+", " ")));
      return text.toString();
    } catch (Exception error) {
      return "said\texception=" + String.valueOf(error).replaceAll("\\s+", " ");
    }
  }
}
