package peer;

import com.helger.phase4.crypto.AS4CryptoFactoryInMemoryKeyStore;
import com.helger.phase4.crypto.IAS4CryptoFactory;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Keys and certificates from PEM files, in the forms that phase4 and Jetty take. */
final class Keys {
  static final char[] PASSWORD = "peer".toCharArray();
  static final String ALIAS = "own";
  private static final Pattern BLOCK = Pattern.compile("-----BEGIN ([A-Z ]+)-----([^-]+)-----END");

  private Keys() {}

  private static List<byte[]> blocks(Path file, String kind) throws Exception {
    Matcher matcher = BLOCK.matcher(Files.readString(file, StandardCharsets.US_ASCII));
    List<byte[]> found = new ArrayList<>();
    while (matcher.find())
      if (matcher.group(1).equals(kind)) found.add(Base64.getMimeDecoder().decode(matcher.group(2)));
    return found;
  }

  static List<X509Certificate> certificates(Path file) throws Exception {
    CertificateFactory factory = CertificateFactory.getInstance("X.509");
    List<X509Certificate> found = new ArrayList<>();
    for (byte[] der : blocks(file, "CERTIFICATE"))
      found.add((X509Certificate) factory.generateCertificate(new ByteArrayInputStream(der)));
    return found;
  }

  private static PrivateKey key(Path file, String algorithm) throws Exception {
    String name = algorithm.equals("EdDSA") || algorithm.equals("Ed25519") ? "Ed25519" : algorithm;
    return KeyFactory.getInstance(name).generatePrivate(new PKCS8EncodedKeySpec(blocks(file, "PRIVATE KEY").get(0)));
  }

  /** A key with its own certificate alone: phase4 sends what stands in the store. */
  static KeyStore identity(Path file) throws Exception {
    X509Certificate leaf = certificates(file).get(0);
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, PASSWORD);
    PrivateKey key = key(file, leaf.getPublicKey().getAlgorithm());
    store.setKeyEntry(ALIAS, key, PASSWORD, new Certificate[] {leaf});
    return store;
  }

  static KeyStore trusted(Path file) throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, PASSWORD);
    int number = 0;
    for (X509Certificate certificate : certificates(file)) store.setCertificateEntry("ca-" + number++, certificate);
    return store;
  }

  static IAS4CryptoFactory factory(Path identity, Path anchors) throws Exception {
    return new AS4CryptoFactoryInMemoryKeyStore(identity(identity), ALIAS, PASSWORD, trusted(anchors));
  }
}
