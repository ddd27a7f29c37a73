package peer;

import com.helger.collection.commons.CommonsArrayList;
import com.helger.http.EHttpMethod;
import com.helger.phase4.crypto.AS4CryptParams;
import com.helger.phase4.crypto.AS4SigningParams;
import com.helger.phase4.incoming.AS4IncomingProfileSelectorConstant;
import com.helger.phase4.incoming.AS4RequestHandler;
import com.helger.phase4.incoming.crypto.AS4IncomingSecurityConfiguration;
import com.helger.phase4.servlet.AS4UnifiedResponse;
import com.helger.phase4.servlet.AS4XServletHandler;
import com.helger.phase4.servlet.IAS4ServletRequestHandlerCustomizer;
import com.helger.web.scope.IRequestWebScopeWithoutResponse;
import com.helger.web.scope.mgr.WebScopeManager;
import com.helger.xservlet.AbstractXServlet;
import jakarta.servlet.DispatcherType;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.EnumSet;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.SecureRequestCustomizer;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.SslConnectionFactory;
import org.eclipse.jetty.util.ssl.SslContextFactory;

/** An embedded Jetty with phase4's servlet at /as4. */
final class Endpoint {
  private final Agreement agreement;
  private final Inbox inbox;
  private final Channel channel;
  private final Server server = new Server();
  private final ServerConnector connector;

  Endpoint(Agreement agreement, Inbox inbox, Channel channel) throws Exception {
    this.agreement = agreement;
    this.inbox = inbox;
    this.channel = channel;
    connector = connector();
    connector.setHost("127.0.0.1");
    connector.setPort(Integer.parseInt(agreement.get("port")));
    server.addConnector(connector);
    ServletContextHandler context = new ServletContextHandler("/");
    server.setHandler(context);
    server.start();
    WebScopeManager.onGlobalBegin(context.getServletContext());
    context.addFilter(new FilterHolder(new Signals(channel)), "/as4", EnumSet.of(DispatcherType.REQUEST));
    context.addServlet(new ServletHolder(new Servlet()), "/as4");
  }

  private ServerConnector connector() throws Exception {
    if (agreement.get("tls") == null) return new ServerConnector(server);
    KeyStore store = Keys.identity(Path.of(agreement.get("tls")));
    SslContextFactory.Server tls = new SslContextFactory.Server();
    tls.setKeyStore(store);
    tls.setKeyStorePassword(new String(Keys.PASSWORD));
    HttpConfiguration http = new HttpConfiguration();
    http.addCustomizer(new SecureRequestCustomizer(false));
    return new ServerConnector(server, new SslConnectionFactory(tls, "http/1.1"), new HttpConnectionFactory(http));
  }

  int port() {
    return connector.getLocalPort();
  }

  void stop() throws Exception {
    server.stop();
  }

  /** phase4's own servlet, told of this agreement before each request. */
  private final class Servlet extends AbstractXServlet implements IAS4ServletRequestHandlerCustomizer {
    private final transient com.helger.phase4.crypto.IAS4CryptoFactory sign;
    private final transient com.helger.phase4.crypto.IAS4CryptoFactory decrypt;

    Servlet() throws Exception {
      Path anchors = Path.of(agreement.get("anchors"));
      sign = Keys.factory(Path.of(agreement.get("signing")), anchors);
      decrypt = Keys.factory(Path.of(agreement.get("decryption")), anchors);
      settings().setMultipartEnabled(false);
      handlerRegistry().registerHandler(EHttpMethod.POST, new AS4XServletHandler().setRequestHandlerCustomizer(this));
    }

    @Override
    public void customizeBeforeHandling(IRequestWebScopeWithoutResponse scope, AS4UnifiedResponse response,
        AS4RequestHandler handler) {
      AS4SigningParams signing = AS4SigningParams.createDefault();
      AS4CryptParams encryption = AS4CryptParams.createDefault();
      agreement.signing(signing);
      agreement.encryption(encryption);
      handler.setCryptoFactorySign(sign);
      handler.setCryptoFactoryCrypt(decrypt);
      handler.setPModeResolver((id, service, action, initiator, responder, ref, address) ->
          action.equals(agreement.get("action")) || action.endsWith("/test") ? agreement.pmode(initiator, responder) : null);
      handler.setIncomingProfileSelector(new AS4IncomingProfileSelectorConstant(null, false));
      handler.setIncomingSecurityConfiguration(
          new AS4IncomingSecurityConfiguration().setSigningParams(signing).setCryptParams(encryption));
      handler.setProcessorSupplier(() -> new CommonsArrayList<>(inbox));
    }

    @Override
    public void customizeAfterHandling(IRequestWebScopeWithoutResponse scope, AS4UnifiedResponse response,
        AS4RequestHandler handler) {
      channel.replace(response);
    }
  }
}
