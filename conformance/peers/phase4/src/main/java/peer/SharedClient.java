package peer;

import com.helger.httpclient.HttpClientFactory;
import com.helger.httpclient.HttpClientSettings;
import java.io.IOException;
import java.nio.file.Path;
import java.security.KeyStore;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.CloseableHttpResponse;
import org.apache.hc.core5.http.ClassicHttpRequest;
import org.apache.hc.core5.http.HttpHost;
import org.apache.hc.core5.http.protocol.HttpContext;
import org.apache.hc.core5.io.CloseMode;
import org.apache.hc.core5.util.Timeout;

/** One HTTP client for all messages: phase4 asks for one per message and closes it, which would end every kept connection. */
final class SharedClient extends HttpClientFactory {
  private CloseableHttpClient shared;

  SharedClient(Path anchors) throws Exception {
    super(settings(anchors));
  }

  private static HttpClientSettings settings(Path anchors) throws Exception {
    KeyStore trusted = Keys.trusted(anchors);
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(trusted);
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(null, trust.getTrustManagers(), null);
    HttpClientSettings settings = new HttpClientSettings();
    settings.setSSLContext(tls);
    settings.setResponseTimeout(Timeout.ofMinutes(10));
    return settings;
  }

  @Override
  public synchronized CloseableHttpClient createHttpClient() {
    if (shared == null) shared = super.createHttpClient();
    return new Kept(shared);
  }

  private static final class Kept extends CloseableHttpClient {
    private final CloseableHttpClient real;

    Kept(CloseableHttpClient real) {
      this.real = real;
    }

    @Override
    protected CloseableHttpResponse doExecute(HttpHost target, ClassicHttpRequest request, HttpContext context)
        throws IOException {
      return real.execute(target, request, context);
    }

    @Override
    public void close() {}

    @Override
    public void close(CloseMode mode) {}
  }
}
