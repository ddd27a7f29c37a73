package peer;

import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ReadListener;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletInputStream;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * Takes receipts and errors that come on their own to `Channel`: phase4's endpoint knows no P-Mode for a signal and fails over
 * every signed one. All else goes on to phase4, and a signal that `Channel` leaves alone does too.
 */
final class Signals implements Filter {
  private final Channel channel;

  Signals(Channel channel) {
    this.channel = channel;
  }

  @Override
  public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain)
      throws IOException, ServletException {
    String type = request.getContentType();
    if (type == null || !type.startsWith("application/soap+xml")) {
      chain.doFilter(request, response);
      return;
    }
    byte[] octets = request.getInputStream().readAllBytes();
    String text = new String(octets, StandardCharsets.UTF_8);
    HttpServletResponse answer = (HttpServletResponse) response;
    if (!text.contains("SignalMessage") || text.contains("PullRequest")) {
      chain.doFilter(new Again((HttpServletRequest) request, octets), response);
      return;
    }
    String alone = channel.leftAlone(text);
    if (alone == null) {
      try {
        channel.signalled(type, octets);
        answer.setStatus(202);
      } catch (Exception error) {
        System.err.println("signal: " + error);
        answer.setStatus(400);
      }
      return;
    }
    chain.doFilter(new Again((HttpServletRequest) request, octets), response);
    channel.answeredAlone(alone, answer.getStatus());
  }

  /** A request whose body was read already. */
  private static final class Again extends HttpServletRequestWrapper {
    private final ByteArrayInputStream octets;

    Again(HttpServletRequest request, byte[] octets) {
      super(request);
      this.octets = new ByteArrayInputStream(octets);
    }

    @Override
    public ServletInputStream getInputStream() {
      return new ServletInputStream() {
        @Override
        public int read() {
          return octets.read();
        }

        @Override
        public boolean isFinished() {
          return octets.available() == 0;
        }

        @Override
        public boolean isReady() {
          return true;
        }

        @Override
        public void setReadListener(ReadListener listener) {
          throw new IllegalStateException("read at once");
        }
      };
    }
  }
}
