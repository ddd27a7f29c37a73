package peer;

import com.helger.phase4.ebms3header.Ebms3SignalMessage;
import com.helger.phase4.incoming.spi.IAS4IncomingPullRequestProcessorSPI;
import com.helger.phase4.model.pmode.IPMode;

/** Which P-Mode a request to pull belongs to; phase4 finds this class through its services file and no other way. */
public final class ChannelModes implements IAS4IncomingPullRequestProcessorSPI {
  private static volatile Agreement agreement;

  static void agree(Agreement agreed) {
    agreement = agreed;
  }

  @Override
  public IPMode findPMode(Ebms3SignalMessage request) {
    return agreement.pulled(agreement.get("us"), agreement.get("them"));
  }
}
